"""Seconds of orchestration for each no-op trial, beside plain Ray Tune.

Ways of running trials that do nothing, on two CPUs, in one process and on one local Ray, one after the
other and interleaved:

- perturb: ``orchestrator.driver`` on a sweep of seeds of one cell of the model in ``benchmarks/noop.py``,
  whose training is one report: planned, claimed, dispatched, its row in the ledger, its log and progress
  written; MLflow and reports are off.
- Ray Tune, reuse_actors=True: a trainable that reports one number; nothing is stored.
- the same with OptunaSearch and MLflowLoggerCallback on SQLite, as a user would write it.
- Ray Tune, defaults: a new process for each trial, nothing stored.

A trial ends when its row is in the ledger (the file's time) or, for plain Tune, when Tune calls it
complete. The seconds per trial are those from the end of trial number 10 to the end of the last one,
divided by the trials in between: that leaves out the start of Ray, and of the first processes and their
imports, which is shown apart as the time to the first trial's end. The targets are at most 0.05 s a trial,
and at most 1.2 of plain Tune with ``reuse_actors``, within each turn.

    python -m benchmarks.orchestration
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import QUIET, finish, machine, parser, shown, summary, table, verdict

SKIPPED = 10
"""Trials at the start that are not counted: by then every process is up."""

TARGET, RATIO = 0.05, 1.2
CPUS = 2
OURS, BARE, FULL, DEFAULT = (
    "perturb", "Ray Tune, reuse_actors", "the same, Optuna and MLflow", "Ray Tune, defaults",
)  # fmt: skip


def perturb(trials: int) -> dict[str, float]:
    """The sweep through our own orchestrator."""
    from orchestrator.driver import run
    from orchestrator.options import Options
    from orchestrator.sweepfile.sweep import from_dict

    trial = {"data": "digits", "model": {"name": "noop"}, "method": "standard", "epochs": 1}
    content = {"name": "noop", "trial": trial, "seeds": trials, "plugins": ["noop.py"]}
    sweep = from_dict(content, Path(__file__).parent)
    with tempfile.TemporaryDirectory(prefix="perturb-bench-") as folder:
        began, clock = time.time(), time.perf_counter()
        ended = run(sweep, Options(store=folder, cpus=CPUS, track=False))
        total = time.perf_counter() - clock
        if ended.counts["done"] != trials:
            raise RuntimeError(f"{trials - ended.counts['done']} of {trials} trials are not done")
        files = Path(folder).glob("ledger/trials/completed/*.parquet")
        ends = sorted(file.stat().st_mtime - began for file in files)
    return steady(ends, total)


def plain(trials: int, reuse: bool, full: bool = False) -> dict[str, float]:
    """A no-op function trainable through ``Tuner``; ``full`` with a searcher and a logger."""
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune import Callback, RunConfig, TuneConfig, Tuner
    from ray.tune.search.optuna import OptunaSearch

    ends: list[float] = []

    class Clock(Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ends.append(time.perf_counter() - clock)

    def noop(config: dict[str, Any]) -> None:
        tune.report({"number": config["number"]})

    folder = tempfile.mkdtemp(prefix="tune-bench-")
    callbacks: list[Any] = [Clock()]
    space: dict[str, Any] = {"number": tune.grid_search(list(range(trials)))}
    asked: dict[str, Any] = {}
    if full:
        callbacks.append(MLflowLoggerCallback(f"sqlite:///{folder}/mlflow.db", experiment_name="noop"))
        space = {"number": tune.uniform(0, 1)}
        asked = {"search_alg": OptunaSearch(metric="number", mode="max"), "num_samples": trials}
    clock = time.perf_counter()
    try:
        tuner = Tuner(
            tune.with_resources(noop, {"cpu": 1}),
            param_space=space,
            tune_config=TuneConfig(reuse_actors=reuse, **asked),
            run_config=RunConfig(name="noop", storage_path=folder, callbacks=callbacks, verbose=0),
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
    arguments.add_argument("--trials", type=int, default=500, help="more than 10")
    arguments.add_argument("--repeats", type=int, default=3, help="turns, in which each way runs once")
    arguments.add_argument("--default-trials", type=int, default=30, help="of Tune's defaults (slow), once")
    options = arguments.parse_args()
    os.environ.update(QUIET)
    facts = machine(["ray", "torch", "pyarrow", "optuna", "mlflow"])
    import ray

    from orchestrator.dispatch.local import start_ray

    clock = time.perf_counter()
    start_ray(None, CPUS, [])
    ray_start = time.perf_counter() - clock
    ways: dict[str, Callable[[], dict[str, float]]] = {
        OURS: lambda: perturb(options.trials),
        BARE: lambda: plain(options.trials, reuse=True),
        FULL: lambda: plain(options.trials, reuse=True, full=True),
    }
    found: dict[str, list[dict[str, float]]] = {way: [] for way in (*ways, DEFAULT)}
    for turn in range(options.repeats):
        for way in list(ways) if turn % 2 == 0 else list(ways)[::-1]:
            found[way].append(ways[way]())
            print(f"turn {turn + 1}: {way} {found[way][-1]['per_trial']:.4f} s a trial", flush=True)
    if options.default_trials:
        found[DEFAULT].append(plain(options.default_trials, reuse=False))
    ray.shutdown()
    results = {
        way: {name: summary([run[name] for run in runs]) for name in runs[0]}
        for way, runs in found.items()
        if runs
    }
    pairs = zip(found[OURS], found[BARE], strict=True)
    ratio = summary([ours["per_trial"] / bare["per_trial"] for ours, bare in pairs])
    rows = [
        [way, shown(of["per_trial"], 4), f"{of['first']['median']:.1f}", f"{of['after']['median']:.2f}",
         f"{of['total']['median']:.1f}", verdict(of["per_trial"]["median"], TARGET) if way == OURS else ""]
        for way, of in results.items()
    ]  # fmt: skip
    rows.append([f"{OURS} / {BARE}", shown(ratio), "", "", "", verdict(ratio["median"], RATIO)])
    columns = ["seconds", "per trial", "to first end", "after last", "in all", "target"]
    title = f"{options.trials} no-op trials on {CPUS} CPUs; Ray started once in {ray_start:.1f} s"
    table(title, columns, rows)
    told = {"trials": options.trials, "cpus": CPUS, "targets": [TARGET, RATIO], "ray_start": ray_start}
    finish(options.out, "orchestration", facts, told | {"seconds": results, "ratio": ratio})


if __name__ == "__main__":
    main()
