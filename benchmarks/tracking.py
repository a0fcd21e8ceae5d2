"""Seconds to bring a finished sweep to MLflow, and to follow it while it runs: 500 trials of 100 epochs.

Rows are made up with the metrics of a real trial (loss and accuracy of training and validation each epoch,
final ones, timings): 250 cells of two seeds. Measured on SQLite as in the embedded store, each in a new
file: ``track`` of the finished sweep, ``track`` a second time with nothing to do, and the live tracker,
told every event of the sweep as fast as it takes them (started, each epoch, finished) with ten trials at
once, from the first to the end of ``close``. Reports and artifacts are left out; one round is run before
the clock starts, for MLflow's imports and migrations. The processor's seconds stand beside the wall's, which
on a busy machine say more of it than of the code.

    python -m benchmarks.tracking --rounds 3
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import finish, machine, parser, shown, summary, table, verdict
from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports.summary import Measure
from orchestrator.tracking.mlflow_store import default_artifacts, default_uri
from orchestrator.tracking.track import track
from orchestrator.tracking.tracker import Tracker

TARGET = 60.0
"""Seconds for 500 trials of 100 epochs."""

SEEDS = (0, 1)
AT_ONCE = 10
METRIC = Measure("val.accuracy")


def points_of(trials: int) -> list[Point]:
    """A grid of two axes with a cell for every two trials."""
    return [
        Point({"method.epsilon": i % 25, "method.p": i // 25}, f"cell{i:04}")
        for i in range(trials // len(SEEDS))
    ]


def row_of(point: Point, seed: int, epochs: int) -> Row:
    """A trial of the digits, as its row looks; the numbers are made up."""

    def measured(epoch: int) -> dict[str, float]:
        return {
            "epoch": float(epoch),
            "train.loss": 2.3 / epoch, "train.accuracy": 1 - 0.9 / epoch,
            "val.loss": 2.4 / epoch, "val.accuracy": 0.95 - 0.8 / epoch + seed / 1000,
        }  # fmt: skip

    last = measured(epochs) | {"test.loss": 0.3, "test.accuracy": 0.9}
    return Row(
        key=f"{point.cell}-{seed}", cell=point.cell, seed=seed, status="completed", trial={},
        canonical={"data": {"name": "digits"}}, best=last, last=last, best_epoch=epochs,
        history=[measured(epoch) for epoch in range(1, epochs + 1)],
        timings={"data": 0.1, "build": 0.1, "train": 20.0, "evaluate": 1.0, "total": 21.5},
        device="cpu", versions={"python": "3.11"}, git_commit="0123456789abcdef", data_hash="d1" * 32,
        contract=1, host="node-1", finished="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def finished(uri: str, artifacts: str, points: list[Point], rows: list[Row]) -> None:
    """``track`` of a finished sweep."""
    track(uri, artifacts, "sweep", points, rows, METRIC, SEEDS)


def live(uri: str, artifacts: str, points: list[Point], rows: list[Row]) -> None:
    """The live tracker from the first event to the last."""
    tracker = Tracker(uri, artifacts, "sweep", points, METRIC, SEEDS)
    labels = {point.cell: point.labels for point in points}
    for first in range(0, len(rows), AT_ONCE):
        some = rows[first : first + AT_ONCE]
        for row in some:
            tracker.started(row.key, row.cell, labels[row.cell], row.seed)
        for epoch in range(len(rows[0].history)):
            for row in some:
                tracker.epoch(row.key, epoch + 1, row.history[epoch])
        for row in some:
            tracker.finished(row)
    tracker.complete(points, rows)
    if not tracker.close(600):
        raise SystemExit(tracker.problem)


def seconds(do: Callable[[], None]) -> tuple[float, float]:
    """Wall time of a call, and the processor's."""
    start, cpu = time.perf_counter(), time.process_time()
    do()
    return time.perf_counter() - start, time.process_time() - cpu


def measure(points: list[Point], rows: list[Row]) -> dict[str, tuple[float, float]]:
    """One round, in two new SQLite files."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        places = {
            name: (default_uri(Path(folder) / name), default_artifacts(Path(folder) / name))
            for name in ("finished", "live")
        }
        for name, place in places.items():
            track(*place, "empty", [], [], METRIC, SEEDS)  # the tables of a new file
            do = finished if name == "finished" else live
            found[name] = seconds(lambda do=do, place=place: do(*place, points, rows))  # type: ignore[misc]
        found["again"] = seconds(lambda: finished(*places["finished"], points, rows))
    return found


def main() -> None:
    """Measure, show, write."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--trials", type=int, default=500)
    arguments.add_argument("--epochs", type=int, default=100)
    options = arguments.parse_args()
    facts = machine(["mlflow", "sqlalchemy"])
    points = points_of(options.trials)
    rows = [row_of(point, seed, options.epochs) for point in points for seed in SEEDS]
    measure(points[:2], rows[:4])
    rounds = [measure(points, rows) for _ in range(options.rounds)]
    words = {
        "finished": "track of a finished sweep",
        "live": "followed live, all events at once",
        "again": "track again, nothing to do",
    }
    found = {name: summary([one[name][0] for one in rounds]) for name in words}
    cpu = {name: summary([one[name][1] for one in rounds]) for name in words}
    lines = [
        [words[name], shown(s), f"{cpu[name]['median']:.2f}", verdict(s["median"], TARGET)]
        for name, s in found.items()
    ]
    title = f"{options.trials} trials of {options.epochs} epochs on SQLite, seconds"
    table(title, ["", "median (quartiles)", "processor", "target"], lines)
    counts = {"trials": options.trials, "epochs": options.epochs, "cells": len(points)}
    finish(options.out, "tracking", facts, {"target": TARGET, **counts, "seconds": found, "cpu": cpu})


if __name__ == "__main__":
    main()
