"""Planning against a ledger of 100,000 trials: listing it, planning sweeps against it, reading what is held.

The rows are made up, each with a history of 20 epochs; their keys, settings and canonical forms are those
of a real sweep of 1,000 cells x 100 seeds. They are written as drivers leave them: in segments of 2,048 rows
that compaction merges by its tiers, and 1,000 rows loose. Every measurement is made in a process of its own,
so that nothing is known beforehand; it starts when the imports are done. The files are in the system's cache.

    python -m benchmarks.ledger_scale
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common import finish, machine, parser, shown, summary, table, verdict

if TYPE_CHECKING:
    from orchestrator.records.ledger import Ledger
    from orchestrator.records.row import Row
    from orchestrator.sweepfile.sweep import Sweep

TARGET = 5.0
SEEDS = 100
LOOSE = 1000
EPOCHS = 20

MEASURED = {
    "index": "status of all keys",
    "plan 1,000": "plan a sweep of 1,000 trials, all held",
    "plan all": "plan a sweep of all trials, all held",
    "plan new": "plan a sweep of as many trials, none held",
    "read 1,000": "read the rows of the 1,000 trials",
    "write": "write one more row",
}


def sweep_of(cells: int, seeds: int, epochs: int = 2) -> Sweep:
    """Cells over epsilon and p, no two of them equal by meaning."""
    from orchestrator.sweepfile.sweep import from_dict

    trial = {
        "data": {"name": "digits", "train_size": 64},
        "model": "lenet5_8x8",
        "method": {"name": "dropattack", "targets": ["input", "conv1.w"]},
        "epochs": epochs,
    }
    axes = {
        "method.epsilon": [round(0.01 * (i + 1), 4) for i in range(cells // 10)],
        "method.p": [round(0.05 * (i + 1), 3) for i in range(10)],
    }
    return from_dict({"name": "scale", "trial": trial, "axes": axes, "seeds": seeds})


def fill(folder: Path, rows: int) -> dict[str, float]:
    """Make the ledger; returns seconds, bytes and files."""
    from orchestrator.planning.expand import expand
    from orchestrator.planning.jobs import jobs_of
    from orchestrator.records import compaction
    from orchestrator.records.ledger import Ledger
    from orchestrator.records.store import Store

    start = time.perf_counter()
    ledger, sweep = Ledger(Store(folder)), sweep_of(rows // SEEDS, SEEDS)
    grid = expand(sweep)
    jobs = jobs_of(grid.cells.values(), sweep, grid.points)
    made = [row_of(job, number) for number, job in enumerate(jobs)]
    loose = min(LOOSE, rows // 10)
    for at in range(0, rows - loose, compaction.BATCH):
        ledger.segments.put(Ledger.columns.table(made[at : min(at + compaction.BATCH, rows - loose)]))
        while compaction.merge(ledger):
            pass
    for row in made[rows - loose :]:
        ledger.store.put(f"ledger/trials/completed/{row.key}.parquet", Ledger.to_parquet(row))
    files = list(folder.rglob("*.parquet"))
    return {
        "seconds": time.perf_counter() - start,
        "bytes": sum(path.stat().st_size for path in files),
        "segments": len(ledger.segments.names()),
    }


def row_of(job: Any, number: int) -> Row:
    """A made-up row of a job."""
    from orchestrator.records.row import Row

    value = (number * 0.6180339887) % 1
    metrics = {"val.loss": 1 + value, "val.accuracy": value, "test.loss": 1 + value, "test.accuracy": value}
    history = [{"epoch": float(e), "train.loss": value / e, **metrics} for e in range(1, EPOCHS + 1)]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return Row(
        key=job.key,
        cell=job.cell,
        seed=job.seed,
        status="completed",
        trial=job.trial,
        canonical=job.canonical,
        best=metrics,
        last=metrics,
        best_epoch=EPOCHS,
        history=history,
        correct={"best": bytes(23)},
        examples=180,
        timings={"train": 1 + value, "total": 2 + value},
        device="cpu",
        versions={"python": "3.11", "torch": "2.15"},
        data_hash=job.data_hash,
        contract=1,
        host="node",
        finished=(start + timedelta(seconds=number)).isoformat(timespec="seconds"),
    )


def measure(what: str, folder: Path, rows: int) -> dict[str, float]:
    """Seconds of one thing, in this process."""
    from orchestrator.planning.plan import plan
    from orchestrator.records.ledger import Ledger
    from orchestrator.records.store import Store

    ledger, cells = Ledger(Store(folder)), rows // SEEDS
    sweep_of(10, 1)
    some = min(1000, rows)
    actions: dict[str, Callable[[], Any]] = {
        "index": ledger.index,
        "plan 1,000": lambda: plan(sweep_of(cells, max(1, some // cells)), ledger).counts(),
        "plan all": lambda: plan(sweep_of(cells, SEEDS), ledger).counts(),
        "plan new": lambda: plan(sweep_of(cells, SEEDS, epochs=3), ledger).counts(),
        "read 1,000": lambda: ledger.read(list(ledger.index())[:some]),
        "write": lambda: ledger.write(_one_more(ledger)),
    }
    clock, processor = time.perf_counter(), time.process_time()
    found = actions[what]()
    times = {"seconds": time.perf_counter() - clock, "cpu": time.process_time() - processor}
    _check(what, found, rows, some)
    return times


def _one_more(ledger: Ledger) -> Row:
    from orchestrator.records.row import Row

    return Row(f"{time.time_ns():064x}", "c", 0, "completed", {}, {})


def _check(what: str, found: Any, rows: int, some: int) -> None:
    expected = {
        "index": lambda: len(found) >= rows,
        "plan 1,000": lambda: found["done"] == found["trials"] == some,
        "plan all": lambda: found["done"] == found["trials"] == rows,
        "plan new": lambda: found["todo"] == found["trials"] == rows,
        "read 1,000": lambda: len(found) == some,
        "write": lambda: found,
    }
    if not expected[what]():
        raise RuntimeError(f"{what}: {found} is not what was expected")


def main() -> None:
    """Measure, show, write."""
    arguments = parser(__doc__)
    arguments.add_argument("--rows", type=int, default=100_000, help="trials in the ledger")
    arguments.add_argument("--repeats", type=int, default=5, help="processes a measurement")
    arguments.add_argument("--measure", help="what to measure in this process, and print")
    arguments.add_argument("--store", type=Path, help="with --measure: the ledger")
    options = arguments.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.store, options.rows)))
        return
    facts = machine(["pyarrow", "pydantic"])
    with tempfile.TemporaryDirectory(prefix="perturb-bench-") as folder:
        made = fill(Path(folder), options.rows)
        times = {what: [_in_a_process(what, folder, options.rows) for _ in range(options.repeats)]
                 for what in MEASURED}  # fmt: skip
    seconds = {what: summary([one["seconds"] for one in many]) for what, many in times.items()}
    cpu = {what: summary([one["cpu"] for one in many]) for what, many in times.items()}
    table(
        f"A ledger of {options.rows:,} trials: {made['segments']} segments, {made['bytes'] / 2**20:.0f} MiB",
        ["what", "seconds", "of the processor", "target"],
        [[MEASURED[what], shown(seconds[what]), shown(cpu[what]),
          verdict(seconds[what]["median"], TARGET) if what.startswith("plan") else ""] for what in MEASURED],
    )  # fmt: skip
    results = {"rows": options.rows, "target": TARGET, "ledger": made, "seconds": seconds, "cpu": cpu}
    finish(options.out, "ledger_scale", facts, results)


def _in_a_process(what: str, folder: str, rows: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.ledger_scale", "--measure", what, "--store", folder]
    done = subprocess.run([*command, "--rows", str(rows)], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
