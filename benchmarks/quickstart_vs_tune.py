"""The quickstart from command to reports, beside the same grid as a plain Ray Tune script.

Both are started as commands of their own on two CPUs and timed from start to exit, imports and the start
of Ray included:

- ``perturb run sweeps/quickstart.yaml`` into an empty store with an empty cache: 49 points, 43 different
  cells, 2 seeds, 86 trials; ledger, MLflow with its grid, report.
- ``benchmarks/plain_tune.py``: 49 points, 2 seeds, 98 trials with ``reuse_actors=True``; MLflow through
  Ray's callback, a table and a heatmap.

The pairs are interleaved, and the order within a pair alternates; shown are both times and the ratio of
each pair. That points with p = 0 are trained once is part of what is measured: it makes 12 of the 98
trials.

    python -m benchmarks.quickstart_vs_tune
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import QUIET, finish, machine, parser, shown, summary, table, verdict

TARGET = 0.5
ROOT = Path(__file__).parent.parent
SWEEP = ROOT / "sweeps" / "quickstart.yaml"
CPUS = 2


def perturb(folder: Path) -> list[str]:
    """The quickstart's command."""
    run = [sys.executable, "-m", "orchestrator.cli", "run", str(SWEEP)]
    return [*run, "--store", str(folder / "store"), "--cpus", str(CPUS)]


def plain(folder: Path) -> list[str]:
    """The plain script's command, with the quickstart's settings."""
    script = [sys.executable, str(ROOT / "benchmarks" / "plain_tune.py"), "--folder", str(folder)]
    return script + [word for name, value in settings().items() for word in (f"--{name}", str(value))]


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


def main() -> None:
    """Measure, show, write."""
    arguments = parser(__doc__)
    arguments.add_argument("--pairs", type=int, default=3, help="runs of each, interleaved")
    options = arguments.parse_args()
    facts = machine(["ray", "torch", "mlflow"])
    plain(Path())  # refuses before anything is timed
    ways = {"perturb": perturb, "plain": plain}
    found: dict[str, list[float]] = {way: [] for way in ways}
    for pair in range(options.pairs):
        for way in list(ways) if pair % 2 == 0 else list(ways)[::-1]:
            with tempfile.TemporaryDirectory(prefix="perturb-bench-") as name:
                found[way].append(seconds(ways[way](Path(name)), Path(name)))
                print(f"pair {pair + 1}: {way} {found[way][-1]:.1f} s", flush=True)
    ratios = [a / b for a, b in zip(found["perturb"], found["plain"], strict=True)]
    results = {way: summary(values) for way, values in found.items()} | {"ratio": summary(ratios)}
    rows = [
        ["perturb run sweeps/quickstart.yaml, s", shown(results["perturb"], 1), ""],
        ["plain Ray Tune, s", shown(results["plain"], 1), ""],
        ["ratio", shown(results["ratio"]), verdict(results["ratio"]["median"], TARGET)],
    ]
    table(f"The quickstart's grid, {options.pairs} pairs", ["", "median (quartiles)", "target"], rows)
    told = {"pairs": options.pairs, "cpus": CPUS, "target": TARGET, "runs": found}
    finish(options.out, "quickstart_vs_tune", facts, told | {"seconds": results})


if __name__ == "__main__":
    main()
