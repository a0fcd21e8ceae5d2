"""Seconds of orchestration for each no-op trial, beside plain Ray Tune.

Three ways of running 100 trials on two CPUs, in one process and on one local Ray, one after the other:

- perturb: ``orchestrator.driver`` on a sweep of 100 seeds of one cell that trains on ten digits for one
  epoch, one step each; planned, dispatched, its row in the ledger, its log and progress written; MLflow
  and reports are off.
- Ray Tune, reuse_actors=True: a trainable that reports one number; nothing is stored.
- Ray Tune, defaults: the same.

A trial ends when its row is in the ledger (the file's time) or, for plain Tune, when Tune calls it
complete. The seconds per trial are those from the end of trial number 10 to the end of the last one,
divided by the trials in between: that leaves out the start of Ray, and of the first processes and their
imports, which is shown apart as the time to the first trial's end. What the engine itself took (loading,
building, training, evaluating) stands in the rows and is shown apart; two trials run at a time, so half
of it is wall time. The figure that is held against the target still contains it.

    python -m benchmarks.orchestration
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.common import QUIET, finish, machine, parser, shown, summary, table, verdict

SKIPPED = 10
"""Trials at the start that are not counted: by then every process is up."""

TARGET = 0.10
CPUS = 2


def perturb(trials: int) -> dict[str, float]:
    """The sweep through our own orchestrator."""
    from orchestrator.driver import Options, run
    from orchestrator.records.ledger import Ledger
    from orchestrator.records.store import Store
    from orchestrator.sweepfile.sweep import from_dict

    trial = {
        "data": {"name": "digits", "train_size": 10},
        "model": "lenet5_8x8",
        "method": "standard",
        "epochs": 1,
    }
    sweep = from_dict({"name": "noop", "trial": trial, "seeds": trials, "resources": {"cpus": 1}})
    with tempfile.TemporaryDirectory(prefix="perturb-bench-") as folder:
        began, clock = time.time(), time.perf_counter()
        ended = run(sweep, Options(store=folder, cpus=CPUS, track=False))
        total = time.perf_counter() - clock
        if ended.counts["done"] != trials:
            raise RuntimeError(f"{trials - ended.counts['done']} of {trials} trials are not done")
        rows = Ledger(Store(folder))
        files = Path(folder).glob("ledger/trials/completed/*.parquet")
        ends = sorted(file.stat().st_mtime - began for file in files)
        timings = [row.timings for row in rows.read(rows.index())]
    engine = [sum(s for phase, s in timing.items() if phase != "total") for timing in timings]
    return steady(ends, total) | {"engine": fmean(sorted(engine)[:-CPUS])}  # less the first, with imports


def plain(trials: int, reuse: bool) -> dict[str, float]:
    """A no-op function trainable through ``Tuner``."""
    from ray import tune
    from ray.tune import Callback, RunConfig, TuneConfig, Tuner

    ends: list[float] = []

    class Clock(Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ends.append(time.perf_counter() - clock)

    def noop(config: dict[str, Any]) -> None:
        tune.report({"number": config["number"]})

    folder = tempfile.mkdtemp(prefix="tune-bench-")
    clock = time.perf_counter()
    try:
        tuner = Tuner(
            tune.with_resources(noop, {"cpu": 1}),
            param_space={"number": tune.grid_search(list(range(trials)))},
            tune_config=TuneConfig(reuse_actors=reuse),
            run_config=RunConfig(name="noop", storage_path=folder, callbacks=[Clock()], verbose=0),
        )
        failed = tuner.fit().num_errors
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if failed:
        raise RuntimeError(f"{failed} of {trials} trials failed")
    return steady(ends, time.perf_counter() - clock)


def steady(ends: list[float], total: float) -> dict[str, float]:
    """Seconds per trial once all processes are up, to the first end, from the last one, and in all."""
    per_trial = (ends[-1] - ends[SKIPPED - 1]) / (len(ends) - SKIPPED)
    return {"per_trial": per_trial, "first": ends[0], "after": total - ends[-1], "total": total}


def main() -> None:
    """Measure, show, write."""
    arguments = parser(__doc__)
    arguments.add_argument("--trials", type=int, default=100, help="more than 10")
    arguments.add_argument("--repeats", type=int, default=3, help="runs of each way, interleaved")
    arguments.add_argument("--default-repeats", type=int, default=1, help="runs with Tune's defaults (slow)")
    options = arguments.parse_args()
    os.environ.update(QUIET)
    facts = machine(["ray", "torch", "pyarrow"])
    import ray

    from orchestrator.dispatch.tune import start_ray

    clock = time.perf_counter()
    start_ray(None, CPUS, [])
    ray_start = time.perf_counter() - clock
    ways: dict[str, Callable[[], dict[str, float]]] = {
        "perturb": lambda: perturb(options.trials),
        "Ray Tune, reuse_actors=True": lambda: plain(options.trials, reuse=True),
        "Ray Tune, defaults": lambda: plain(options.trials, reuse=False),
    }
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for turn in range(options.repeats):
        for way, measure in ways.items():
            if way != "Ray Tune, defaults" or turn < options.default_repeats:
                found[way].append(measure())
    ray.shutdown()
    results = {
        way: {name: summary([run[name] for run in runs]) for name in runs[0]}
        for way, runs in found.items()
        if runs
    }
    rows = [
        [way, shown(of["per_trial"], 3), f"{of['engine']['median']:.3f}" if "engine" in of else "-",
         f"{of['first']['median']:.1f}", f"{of['after']['median']:.2f}", f"{of['total']['median']:.1f}",
         verdict(of["per_trial"]["median"], TARGET) if way == "perturb" else ""]
        for way, of in results.items()
    ]  # fmt: skip
    columns = ["seconds", "per trial", "engine's own", "to first end", "after last", "in all", "target"]
    title = f"{options.trials} no-op trials on {CPUS} CPUs; Ray started once in {ray_start:.1f} s"
    table(title, columns, rows)
    told = {"trials": options.trials, "cpus": CPUS, "target": TARGET, "ray_start": ray_start}
    finish(options.out, "orchestration", facts, told | {"seconds": results})


if __name__ == "__main__":
    main()
