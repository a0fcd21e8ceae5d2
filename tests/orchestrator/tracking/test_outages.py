"""MLflow hangs, refuses, fails at any call, is locked or full: a warning, no wait; `track` completes it."""

from __future__ import annotations

import logging
import random
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import event

from orchestrator.planning.cells import Point
from orchestrator.planning.job import Job, Outcome
from orchestrator.records.row import Row
from orchestrator.reports.summary import Measure
from orchestrator.tracking import bulk, tracker
from orchestrator.tracking.acts import Epoch
from orchestrator.tracking.mlflow_store import Client
from orchestrator.tracking.track import track
from orchestrator.tracking.tracker import CAPACITY, Follower, Tracker

Make = Callable[..., Row]
POINTS = [Point({"method.p": p}, f"c{p}") for p in (0, 1)]
METRIC = Measure("val.accuracy")
SEEDS = (0, 1)


@pytest.fixture
def rows(make_row: Make) -> list[Row]:
    return [make_row(f"c{p}", seed, 0.9, epochs=4) for p in (0, 1) for seed in SEEDS]


def tell(told: Tracker, rows: Sequence[Row]) -> None:
    """All that happens to some trials, told at once."""
    for row in rows:
        told.started(row.key, row.cell, {}, row.seed)
        for epoch in row.history:
            told.epoch(row.key, int(epoch["epoch"]), epoch)
        told.finished(row)


def check(uri: str, name: str, rows: Sequence[Row]) -> None:
    """One finished run a trial, which holds every epoch once, one a cell, one parent."""
    client, found = MlflowClient(tracking_uri=uri), {}
    for experiment in (name, f"{name}/trials"):
        known = client.get_experiment_by_name(experiment)
        assert known is not None
        found[experiment] = list(client.search_runs([known.experiment_id]))
    kinds = sorted(run.data.tags["kind"] for run in found[name])
    assert kinds == ["cell", "cell", "sweep"]
    runs = found[f"{name}/trials"]
    assert sorted(run.data.tags["key"] for run in runs) == sorted(row.key for row in rows)
    by_key = {run.data.tags["key"]: run for run in runs}
    for row in rows:
        run = by_key[row.key]
        assert run.info.status == "FINISHED"
        for metric in ("train.loss", "val.accuracy"):
            points = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, metric)]
            assert sorted(points) == [(int(epoch["epoch"]), epoch[metric]) for epoch in row.history]
        for final in ("best.val.accuracy", "seconds.total"):
            assert len(client.get_metric_history(run.info.run_id, final)) == 1


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A store whose first call does not return before the event is set."""
    released = threading.Event()

    def wait(*args: Any) -> Any:
        released.wait(60)
        raise OSError("it came back too late")

    monkeypatch.setattr(tracker, "Book", wait)
    yield released
    released.set()


def test_a_call_that_hangs_holds_nobody_up(
    place: tuple[str, str], rows: list[Row], hanging: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    start = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="perturb"):
        told = Tracker(*place, "hangs", POINTS, METRIC, SEEDS)
        tell(told, rows)
        assert time.monotonic() - start < 1
        assert not told.close(0.2)
    assert time.monotonic() - start < 3
    assert len([r for r in caplog.records if r.name == "perturb"]) == 1
    hanging.set()
    told._thread.join(10)
    assert not told._thread.is_alive()


def test_the_process_ends_although_a_call_hangs(place: tuple[str, str]) -> None:
    script = f"""
import time
from orchestrator.reports.summary import Measure
from orchestrator.tracking import tracker
tracker.Book = lambda *args: time.sleep(600)
told = tracker.Tracker({place[0]!r}, None, "s", [], Measure("val.accuracy"), [0])
told.started("k", "c", {{}}, 0)
print("closed", told.close(0.2))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "closed False\n"
    assert "Traceback" not in done.stderr


def test_ten_thousand_trials_wait_in_little_memory(
    place: tuple[str, str], make_row: Make, hanging: threading.Event
) -> None:
    told = Tracker(*place, "waits", POINTS, METRIC, SEEDS)
    row = make_row()
    follower = Follower(told, lambda key: row)
    tracemalloc.start()
    try:
        for i in range(10_000):
            job = Job(str(i), "c0", i, trial={}, labels={})
            follower.started(job)
            for epoch in range(3):
                follower.epoch(job, epoch + 1, row.history[epoch])
            follower.finished(job, Outcome(job.key, "completed"))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    waiting = [one for one in told._events if isinstance(one, Epoch)]
    assert len(told._events) < 20_000 + CAPACITY
    assert len(waiting) <= CAPACITY
    assert held < 30e6
    told.close(0.01)


def test_a_store_that_refuses_every_call(
    place: tuple[str, str], rows: list[Row], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, logger="perturb"):

        def refuse(*args: Any, **more: Any) -> Any:
            raise MlflowException("no")

        for name in CALLS:
            patch.setattr(MlflowClient, name, refuse)
        told = Tracker(*place, "refuses", POINTS, METRIC, SEEDS)
        tell(told, rows)
        told.complete(POINTS, rows)
        assert not told.close(30)
    assert len([r for r in caplog.records if r.name == "perturb"]) == 1
    track(*place, "refuses", POINTS, rows, METRIC, SEEDS)
    check(place[0], "refuses", rows)


CALLS = (
    "get_experiment_by_name", "create_experiment", "search_runs", "create_run", "log_batch", "set_terminated",
    "update_run", "delete_run", "get_metric_history",
)  # fmt: skip


def failing(patch: pytest.MonkeyPatch, chance: random.Random, at_hand: bool) -> None:
    """Each call to MLflow may fail: before anything is done, or after all of it is."""

    def shaken(call: Callable[..., Any]) -> Callable[..., Any]:
        def do(*args: Any, **more: Any) -> Any:
            fate = chance.random()
            if fate < 0.08:
                raise MlflowException("refused")
            found = call(*args, **more)
            if fate < 0.16:
                raise OSError("the answer was lost")
            return found

        return do

    for name in CALLS:
        patch.setattr(MlflowClient, name, shaken(getattr(MlflowClient, name)))
    if at_hand:
        patch.setattr(bulk, "write", shaken(bulk.write))
    else:
        patch.setattr(bulk, "database", lambda client: None)


@pytest.mark.parametrize("at_hand", [True, False])
def test_whatever_fails_track_completes_it_once(
    place: tuple[str, str], rows: list[Row], at_hand: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "PAUSE", 0.0)
    problems = 0
    for seed in range(5):
        name, chance = f"shaken{seed}", random.Random(seed)
        with monkeypatch.context() as patch:
            failing(patch, chance, at_hand)
            told = Tracker(*place, name, POINTS, METRIC, SEEDS)
            for row in rows:
                tell(told, [row])
                time.sleep(chance.random() / 50)  # so that events come one by one, and together
            told.complete(POINTS, rows)
            told.close(30)
            problems += bool(told.problem)
        track(*place, name, POINTS, rows, METRIC, SEEDS)
        check(place[0], name, rows)
    assert problems, "nothing failed"


def test_a_locked_database(place: tuple[str, str], rows: list[Row]) -> None:
    track(*place, "locked", POINTS, [], METRIC, SEEDS)
    with sqlite3.connect(place[0].removeprefix("sqlite:///"), isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        told = Tracker(*place, "locked", POINTS, METRIC, SEEDS)
        start = time.monotonic()
        tell(told, rows)
        assert not told.close(0.5)
        assert time.monotonic() - start < 3
        other.execute("ROLLBACK")
    other.close()
    told._thread.join(30)
    track(*place, "locked", POINTS, rows, METRIC, SEEDS)
    check(place[0], "locked", rows)


def test_a_full_disk(place: tuple[str, str], make_row: Make, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [make_row(f"c{p}", seed, epochs=300) for p in (0, 1) for seed in SEEDS]
    track(*place, "full", POINTS, [], METRIC, SEEDS)
    engine = Client(*place).database.engine  # type: ignore[union-attr]
    limit = {"pages": 0}

    def room(connection: Any, *more: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {limit['pages']}").close()

    with engine.connect() as connection:
        limit["pages"] = connection.exec_driver_sql("PRAGMA page_count").scalar() + 12
    event.listen(engine, "checkout", room)
    try:
        told = Tracker(*place, "full", POINTS, METRIC, SEEDS)
        tell(told, rows)
        told.complete(POINTS, rows)
        assert not told.close(30)
        assert "full" in told.problem
    finally:
        limit["pages"] = 2**30
    track(*place, "full", POINTS, rows, METRIC, SEEDS)
    event.remove(engine, "checkout", room)
    check(place[0], "full", rows)
    assert capfd.readouterr().err.count("Traceback") == 0


def test_cells_are_told_for_many_trials_at_once(
    place: tuple[str, str], make_row: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each trial that ends would have its cell summarised anew."""
    told = Tracker(*place, "cells", [Point({}, "c")], METRIC, range(40))
    cells: list[int] = []
    monkeypatch.setattr(tracker.Book, "cell", lambda self, cell, rows: cells.append(len(rows)), raising=True)
    rows = [make_row("c", seed, epochs=1) for seed in range(40)]
    tell(told, rows)
    assert told.close(30)
    assert cells[-1] == 40
    assert len(cells) < 5
    held = told._rows["c"].values()
    assert not any(row.history or row.trial or row.correct for row in held), (
        "whole rows would fill the memory"
    )
