"""Seconds for each trial of two workers (DistributedDataParallel over gloo), after the first.

``orchestrator.driver`` on a sweep of 40 seeds of one cell with ``resources: {workers: 2}`` on two CPUs, one
trial at a time: DropAttack on 256 digits in global batches of 64 for one epoch, so four steps that each
average gradients over the workers, then validation and test shared by both. The first trial starts the two
workers and their process group; the later ones find them warm.

A trial ends when its row is in the ledger (the file's time). Shown are the intervals between the ends of
one trial and the next, and the part of them that the engine took (loading, building, training,
evaluating), which is no overhead: the rest of the interval is what is held against the target.

    python -m benchmarks.ddp_trials
"""

from __future__ import annotations

import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from benchmarks.common import QUIET, finish, machine, parser, shown, summary, table, verdict

TARGET = 0.15
WORKERS = 2


def measure(trials: int) -> dict[str, list[float]]:
    """Seconds to the end of the first trial, between the others, and of the engine in each of those."""
    from orchestrator.driver import run
    from orchestrator.options import Options
    from orchestrator.records.ledger import Ledger
    from orchestrator.records.store import Store
    from orchestrator.sweepfile.sweep import from_dict

    trial = {
        "data": {"name": "digits", "train_size": 256},
        "model": "lenet5_8x8",
        "method": {"name": "dropattack", "targets": ["input", "conv1.w"]},
        "epochs": 1,
        "batch_size": 64,
    }
    resources = {"cpus": 1, "workers": WORKERS}
    sweep = from_dict({"name": "ddp", "trial": trial, "seeds": trials, "resources": resources})
    with tempfile.TemporaryDirectory(prefix="perturb-bench-") as folder:
        began = time.time()
        ended = run(sweep, Options(store=folder, cpus=WORKERS, track=False))
        if ended.counts["done"] != trials:
            raise RuntimeError(f"{trials - ended.counts['done']} of {trials} trials are not done")
        rows = Ledger(Store(folder))
        files = Path(folder).glob("ledger/trials/completed/*.parquet")
        ends = sorted((file.stat().st_mtime - began, file.stem) for file in files)
        timings = [row.timings for row in rows.read(key for _, key in ends[1:])]
    later = [b[0] - a[0] for a, b in pairwise(ends)]
    engine = [sum(s for phase, s in timing.items() if phase != "total") for timing in timings]
    overhead = [whole - own for whole, own in zip(later, engine, strict=True)]
    return {"first": [ends[0][0]], "later": later, "engine": engine, "overhead": overhead}


def main() -> None:
    """Measure, show, write."""
    arguments = parser(__doc__)
    arguments.add_argument("--trials", type=int, default=40, help="trials of each run")
    arguments.add_argument("--repeats", type=int, default=3, help="runs, each with a new gang")
    options = arguments.parse_args()
    os.environ.update(QUIET)
    facts = machine(["ray", "torch", "pyarrow"])
    import ray

    from orchestrator.dispatch.local import start_ray

    start_ray(None, WORKERS, [])
    found: dict[str, list[float]] = {"first": [], "later": [], "engine": [], "overhead": []}
    for _ in range(options.repeats):
        for name, values in measure(options.trials).items():
            found[name] += values
    ray.shutdown()
    results = {name: summary(values) for name, values in found.items()}
    later = results["later"]
    row = [
        "two-worker trial", shown(later, 3), f"{later['max']:.3f}", shown(results["engine"], 3),
        f"{results['first']['median']:.1f}", shown(results["overhead"], 3),
        verdict(results["overhead"]["median"], TARGET),
    ]  # fmt: skip
    columns = ["seconds", "after the first", "slowest", "engine's own", "to first end", "overhead", "target"]
    title = f"{options.repeats} x {options.trials} trials of {WORKERS} workers, gloo"
    table(title, columns, [row])
    told = {"trials": options.trials, "repeats": options.repeats, "workers": WORKERS, "target": TARGET}
    finish(options.out, "ddp_trials", facts, told | {"seconds": results})


if __name__ == "__main__":
    main()
