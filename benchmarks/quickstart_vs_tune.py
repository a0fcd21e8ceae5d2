"""The quickstart's grid from command to reports, beside the same grid as a plain Ray Tune script.

All are started as commands of their own on two CPUs and timed from start to exit, imports and the start
of Ray included:

- ``perturb run sweeps/quickstart.yaml`` into an empty store: 49 points, 43 different cells, 2 seeds, 86
  trials; ledger, MLflow with its grid, report. Then the same command again, and once more with one row more
  (p = 0.2: 7 cells, 14 trials).
- ``benchmarks/plain_tune.py``: 49 points, 2 seeds, 98 trials with ``reuse_actors=True``; MLflow through
  Ray's callback, a table and a heatmap. It knows no second run: it trains everything again.
- the same with Tune's defaults, a new process a trial, over one column of the grid (7 points, 1 seed); its
  time for all 98 trials is extrapolated from the time a trial takes.

The pairs are interleaved, and the order within a pair alternates; ratios are within a pair. That points with
p = 0 are trained once is part of what is measured: it makes 12 of the 98 trials.

Start-up is the time from the shell to the first training step: until the first trial's log begins, and its
loading and building. It is taken twice: with an empty cache, in the run above, which first reads the images
and asks torch for the model's parameters; and in a store of its own, two trials, once that is known. The disk
is warm and bytecode compiled.

    python -m benchmarks.quickstart_vs_tune
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from benchmarks.common import QUIET, finish, machine, parser, shown, summary, table, verdict

ROOT = Path(__file__).parent.parent
SWEEP = ROOT / "sweeps" / "quickstart.yaml"
CPUS = 2
TRIALS = 98
TARGETS = {"plain": 2.5, "default": 15.0, "again": 50.0, "start": 8.0}
"""Least ratio of the plain script's time to ours, with reused and new actors; least ratio of the first run
to the second; most seconds to the first step."""


def perturb(folder: Path, *more: str) -> list[str]:
    """The quickstart's command."""
    run = [sys.executable, "-m", "orchestrator.cli", "run", str(SWEEP)]
    return [*run, "--store", str(folder / "store"), "--cpus", str(CPUS), *more]


def plain(folder: Path, *more: str) -> list[str]:
    """The plain script's command, with the quickstart's settings."""
    script = [sys.executable, str(ROOT / "benchmarks" / "plain_tune.py"), "--folder", str(folder)]
    return [
        *script,
        *(word for name, value in settings().items() for word in (f"--{name}", str(value))),
        *more,
    ]


def settings() -> dict[str, float]:
    """What the quickstart's file says, for the plain script; its grid must be the script's own."""
    from benchmarks.plain_tune import EPSILONS, PROBABILITIES
    from engine.config import Trial
    from orchestrator.sweepfile.sweep import load

    sweep = load(SWEEP)
    grid = {"method.epsilon": EPSILONS, "method.p": PROBABILITIES}
    if {name: list(values) for name, values in sweep.axes.items()} != grid:
        raise RuntimeError(f"the axes of {SWEEP} are not the grid of plain_tune.py")
    trial = Trial.model_validate(sweep.trial)
    return {
        "seeds": len(sweep.seeds),
        "epochs": trial.epochs,
        "lr": trial.optimizer.lr,
        "batch-size": trial.batch_size,
    }


def seconds(command: list[str], folder: Path) -> float:
    """Wall time of a command, which must succeed; what it prints goes to a file."""
    env = {k: v for k, v in os.environ.items() if k not in QUIET}
    env |= {"RAY_AUTH_MODE": "disabled", "PERTURB_CACHE": str(folder / "cache")}
    log = folder / "log"
    start = time.perf_counter()
    with log.open("wb") as stream:
        code = subprocess.run(command, cwd=ROOT, env=env, stdout=stream, stderr=subprocess.STDOUT).returncode
    taken = time.perf_counter() - start
    if code:
        raise RuntimeError(f"{command} ended with {code}:\n{log.read_text(errors='replace')[-2000:]}")
    return taken


def ours(folder: Path) -> dict[str, float]:
    """The quickstart, its second run, and its run with a row more; seconds each, and to the first step."""
    began = time.time()
    found = {"perturb": seconds(perturb(folder), folder)}
    found["first"] = first_step(folder / "store") - began
    found["again"] = seconds(perturb(folder), folder)
    row = "axes.method.p=[0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1]"
    found["row"] = seconds(perturb(folder, "--set", row), folder)
    began, store = time.time(), folder / "new"
    few = [word for axis in ("epsilon", "p") for word in ("--set", f"axes.method.{axis}=[0.5]")]
    seconds(perturb(folder, *few, "--store", str(store)), folder)
    return found | {"start": first_step(store) - began}


def first_step(store: Path) -> float:
    """When the first trial made its first step: its log's first line, then loading and building."""
    from orchestrator.records.ledger import Ledger
    from orchestrator.records.store import Store

    begins = {}
    for log in (store / "logs").iterdir():
        stamp = re.match(r"[\d-]+ [\d:,]+", log.read_text())
        if stamp is not None:
            begins[log.stem] = datetime.strptime(stamp[0], "%Y-%m-%d %H:%M:%S,%f").timestamp()
    key = min(begins, key=lambda one: begins[one])
    (row,) = Ledger(Store(store)).read([key])
    return begins[key] + row.timings["data"] + row.timings["build"]


def one_default(folder: Path) -> float:
    """Seconds of all trials with Tune's defaults, from those of one column of the grid."""
    some = 7
    return seconds(plain(folder, "--no-reuse", "--epsilons", "1", "--seeds", "1"), folder) * TRIALS / some


def main() -> None:
    """Measure, show, write."""
    arguments = parser(__doc__)
    arguments.add_argument("--pairs", type=int, default=3, help="runs of each, interleaved")
    arguments.add_argument("--defaults", type=int, default=1, help="runs with Tune's defaults (slow)")
    options = arguments.parse_args()
    facts = machine(["ray", "torch", "mlflow"])
    plain(Path())  # refuses before anything is timed
    found: dict[str, list[float]] = {}

    def measure(way: str) -> None:
        with tempfile.TemporaryDirectory(prefix="perturb-bench-") as name:
            folder = Path(name)
            if way == "perturb":
                taken = ours(folder)
            else:
                taken = {way: one_default(folder) if way == "default" else seconds(plain(folder), folder)}
        for one, value in taken.items():
            found.setdefault(one, []).append(value)
            print(f"{one} {value:.1f} s", flush=True)

    for pair in range(options.pairs):
        for way in ("perturb", "plain") if pair % 2 == 0 else ("plain", "perturb"):
            measure(way)
    for _ in range(options.defaults):
        measure("default")
    results = {way: summary(values) for way, values in found.items()}
    show(found, options.pairs)
    told = {"pairs": options.pairs, "cpus": CPUS, "targets": TARGETS, "runs": found}
    finish(options.out, "quickstart_vs_tune", facts, told | {"seconds": results})


def ratios_of(over: list[float], under: list[float]) -> list[float]:
    """Within each pair; by the median of those below where there is not one for each."""
    if len(over) == len(under):
        return [a / b for a, b in zip(over, under, strict=True)]
    return [a / statistics.median(under) for a in over]


def show(found: dict[str, list[float]], pairs: int) -> None:
    """The table: seconds, and ratios within each pair."""
    names = {
        "perturb": "perturb run sweeps/quickstart.yaml",
        "again": "the same again",
        "row": "with one row more",
        "plain": "plain Ray Tune, reuse_actors",
        "default": "plain Ray Tune, defaults (extrapolated)",
        "first": "from the shell to the first step, cache empty",
        "start": "from the shell to the first step",
    }
    rows = [[names[way], shown(summary(found[way]), 1), ""] for way in names if way in found]
    ratios = {
        "plain / perturb": ("plain", "perturb"), "default / perturb": ("default", "perturb"),
        "first run / second": ("perturb", "again"),
    }  # fmt: skip
    for title, (over, under) in ratios.items():
        values = ratios_of(found.get(over, []), found[under])
        if values:
            ratio, least = summary(values), TARGETS["again" if under == "again" else over]
            met = "met" if ratio["median"] >= least else "missed"
            rows.append([title, shown(ratio), f">= {least:g}: {met}"])
    rows.append(
        ["seconds to the first step", "", verdict(summary(found["start"])["median"], TARGETS["start"])]
    )
    table(f"The quickstart's grid, {pairs} pairs", ["seconds", "median (quartiles)", "target"], rows)


if __name__ == "__main__":
    main()
