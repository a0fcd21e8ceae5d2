from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.planning.cells import Point
from orchestrator.planning.job import Job, Outcome
from orchestrator.records.row import Row
from orchestrator.reports import write_reports
from orchestrator.reports.summary import Measure
from orchestrator.tracking import mlflow_store
from orchestrator.tracking.mlflow_store import default_artifacts, default_uri
from orchestrator.tracking.track import TrackingError, track
from orchestrator.tracking.tracker import Follower, Tracker

ACCURACY = Measure("val.accuracy")
SEEDS = (0, 1)
Make = Callable[..., Row]


class Wanted:
    """A wanted report."""

    def __init__(self, grid: tuple[str, str] | None = None, curve: str | None = None) -> None:
        self.grid, self.curve, self.table, self.metric = grid, curve, None, None


class Store:
    """One SQLite store for the module; every test has a sweep name of its own in it."""

    def __init__(self, folder: Path) -> None:
        self.uri, self.artifacts = default_uri(folder), default_artifacts(folder)
        self.folder = folder

    def track(self, name: str, points: list[Point], rows: list[Row], **more: Any) -> None:
        track(self.uri, self.artifacts, name, points, rows, ACCURACY, SEEDS, **more)

    def tracker(self, name: str, points: list[Point], rows: list[Row] | None = None) -> Tracker:
        return Tracker(self.uri, self.artifacts, name, points, ACCURACY, SEEDS, rows or [])

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri)

    def runs(self, name: str) -> list[Run]:
        found = self.client.get_experiment_by_name(name)
        assert found is not None
        return list(self.client.search_runs([found.experiment_id]))

    def kind(self, name: str, kind: str) -> list[Run]:
        experiment = f"{name}/trials" if kind == "trial" else name
        return [run for run in self.runs(experiment) if run.data.tags["kind"] == kind]

    def trial(self, name: str, key: str) -> Run:
        (run,) = [run for run in self.kind(name, "trial") if run.data.tags["key"] == key]
        return run

    def history(self, run: Run, metric: str) -> list[tuple[int, float]]:
        return [(m.step, m.value) for m in self.client.get_metric_history(run.info.run_id, metric)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in mlflow_store.PATIENCE.items():
            patch.setenv(name, value)
        yield Store(tmp_path_factory.mktemp("mlflow"))


@pytest.fixture
def two() -> list[Point]:
    """Two cells, one of them at two places."""
    return [
        Point({"method.epsilon": 1, "method.p": 0}, "clean"),
        Point({"method.epsilon": 2, "method.p": 0}, "clean"),
        Point({"method.epsilon": 2, "method.p": 0.5}, "e2"),
    ]


def test_runs_of_sweep_cells_and_trials(
    store: Store, two: list[Point], make_row: Make, tmp_path: Path
) -> None:
    rows = [
        make_row("clean", 0, 0.90),
        make_row("clean", 1, 0.92),
        make_row("e2", 0, 0.95),
        make_row("e2", 1, status="failed", failure="out of memory", error="ValueError: too big"),
    ]
    reports = [Wanted(grid=("method.epsilon", "method.p"))]
    files = write_reports(tmp_path, "structure", "", two, rows, ACCURACY, SEEDS, reports, "name: x", False)
    store.track("structure", two, rows, reports=reports, files=files, description="What it is.")

    (parent,) = store.kind("structure", "sweep")
    assert parent.info.run_name == "structure"
    assert parent.data.metrics["trials.completed"] == 3
    assert parent.data.tags["mlflow.note.content"] == "What it is."

    cells = {run.data.tags["cell"]: run for run in store.kind("structure", "cell")}
    assert {run.data.tags["mlflow.parentRunId"] for run in cells.values()} == {parent.info.run_id}
    clean, partial = cells["clean"], cells["e2"]
    assert clean.data.params == {"method.p": "0"}  # epsilon differs between its places
    assert partial.data.params == {"method.epsilon": "2", "method.p": "0.5"}
    assert clean.data.metrics["mean"] == pytest.approx(0.91)
    assert clean.data.metrics["sd"] == pytest.approx(0.02 / 2**0.5)
    interval = [clean.data.metrics[name] for name in ("ci95_low", "ci95_high")]
    assert interval == pytest.approx([0.91 - 12.706 * 0.01, 0.91 + 12.706 * 0.01], abs=1e-4)
    assert clean.data.metrics["last.test.accuracy.mean"] == pytest.approx(0.89)
    assert {name: partial.data.metrics[name] for name in ("n", "planned", "failures")} == {
        "n": 1,
        "planned": 2,
        "failures": 1,
    }
    assert not {"sd", "ci95_low", "ci95_high"} & set(partial.data.metrics)
    assert partial.data.tags["shown"] == "95.00 (1/2, out of memory)"

    assert len(store.kind("structure", "trial")) == 4
    trial = store.trial("structure", "clean-1")
    assert trial.data.params == {"method.p": "0", "seed": "1"}
    assert {name: trial.data.tags[name] for name in ("cell", "seed", "status")} == {
        "cell": "clean",
        "seed": "1",
        "status": "completed",
    }
    assert trial.data.metrics["best.val.accuracy"] == 0.92
    assert trial.data.metrics["last.test.accuracy"] == pytest.approx(0.90)
    assert trial.data.metrics["best.epoch"] == 3
    assert trial.info.status == "FINISHED"
    failed = store.trial("structure", "e2-1")
    assert (failed.info.status, failed.data.tags["failure"]) == ("FAILED", "out of memory")
    assert failed.data.tags["error"] == "ValueError: too big"


def test_epochs_stand_in_order_at_their_steps_and_times(
    store: Store, two: list[Point], make_row: Make
) -> None:
    row = make_row("e2", 0, 0.95, epochs=12)
    store.track("epochs", two, [row])
    run = store.trial("epochs", row.key)
    expected = [(int(epoch["epoch"]), epoch["val.accuracy"]) for epoch in row.history]
    assert store.history(run, "val.accuracy") == expected
    assert "epoch" not in run.data.metrics
    times = [m.timestamp for m in store.client.get_metric_history(run.info.run_id, "train.loss")]
    assert times == sorted(times)
    assert (times[-1], run.info.end_time - run.info.start_time) == (run.info.end_time, 2500)


def test_the_parent_carries_table_figures_and_page(
    store: Store, two: list[Point], make_row: Make, tmp_path: Path
) -> None:
    rows = [make_row(cell, seed) for cell in ("clean", "e2") for seed in SEEDS]
    reports = [Wanted(grid=("method.epsilon", "method.p"))]
    for some in (rows[:2], rows):  # the second time everything is written over
        files = write_reports(tmp_path, "artifacts", "", two, some, ACCURACY, SEEDS, reports, "", False)
        store.track("artifacts", two, some, reports=reports, files=files)
    (parent,) = store.kind("artifacts", "sweep")
    client, grid = store.client, "grid_method.epsilon_method.p"
    names = {file.path for file in client.list_artifacts(parent.info.run_id, "report")}
    assert names == {
        f"report/{name}" for name in ("report.html", f"{grid}.csv", f"{grid}.html", f"{grid}.png")
    }
    path = client.download_artifacts(parent.info.run_id, f"{grid}.json", str(tmp_path))
    table = json.loads(Path(path).read_text())
    rows_of_table = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [(row["method.p"], row["mean"], row["n"]) for row in rows_of_table] == [
        ("0", 0.9, 2),
        ("0", 0.9, 2),
        ("0.5", 0.9, 2),
    ]  # three places, not six: the table was replaced
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"]) == [
        {"path": f"{grid}.json", "type": "table"}
    ]


def test_a_curve_is_a_metric_whose_step_is_the_size(store: Store, make_row: Make) -> None:
    points = [
        Point({"point": name, "data.train_size": size}, f"{name}{size}")
        for name in ("standard", "p = 0.5")
        for size in (500, 100)
    ]
    rows = [make_row(point.cell, seed, 0.5 + seed / 10) for point in points for seed in SEEDS][:-1]
    for some in (rows[:3], rows, rows):
        store.track("curve", points, some, reports=[Wanted(curve="data.train_size")])
    (parent,) = store.kind("curve", "sweep")
    assert sorted(store.history(parent, "curve.standard.val.accuracy")) == [(100, 0.55), (500, 0.55)]
    # the place that has one seed of two is not drawn
    assert store.history(parent, "curve.p _ 0.5.val.accuracy") == [(500, 0.55)]


def test_a_curve_along_broken_numbers_is_no_metric(store: Store, make_row: Make) -> None:
    points = [Point({"x": x}, f"c{x}") for x in (0.5, 1)]
    rows = [make_row(point.cell, seed) for point in points for seed in SEEDS]
    store.track("broken", points, rows, reports=[Wanted(curve="x")])
    (parent,) = store.kind("broken", "sweep")
    assert not [name for name in parent.data.metrics if name.startswith("curve")]


def everything(store: Store, name: str) -> list[Any]:
    """All runs of a sweep with all that they hold."""
    found = []
    for run in [*store.runs(name), *store.runs(f"{name}/trials")]:
        histories = {metric: store.history(run, metric) for metric in sorted(run.data.metrics)}
        found.append((run.info.run_id, run.info.status, run.data.tags, run.data.params, histories))
    return sorted(found, key=lambda entry: str(entry[0]))


def test_tracking_twice_changes_nothing(store: Store, two: list[Point], make_row: Make) -> None:
    rows = [make_row("clean", 0), make_row("clean", 1), make_row("e2", 0, status="diverged")]
    store.track("twice", two, rows)
    before = everything(store, "twice")
    store.track("twice", two, rows)
    assert everything(store, "twice") == before


def test_a_cell_follows_its_rows(store: Store, two: list[Point], make_row: Make) -> None:
    rows = [make_row("e2", 0, 0.8), make_row("e2", 1, status="failed", failure="lost")]
    store.track("follows", two, rows)
    rows[1] = make_row("e2", 1, 0.9, finished="2026-03-01T00:00:00+00:00")
    store.track("follows", two, rows)
    (cell,) = [run for run in store.kind("follows", "cell") if run.data.tags["cell"] == "e2"]
    assert cell.data.metrics["mean"] == pytest.approx(0.85)
    assert (cell.data.metrics["n"], cell.data.metrics["failures"]) == (2, 0)
    assert (cell.info.status, cell.data.tags["shown"]) == ("FINISHED", "85.00 ± 7.07 (2)")
    trial = store.trial("follows", "e2-1")
    assert (trial.info.status, trial.data.tags["status"]) == ("FINISHED", "completed")
    assert trial.data.metrics["best.val.accuracy"] == 0.9


def test_a_deleted_run_is_made_again(store: Store, two: list[Point], make_row: Make) -> None:
    rows = [make_row("clean", 0), make_row("e2", 0)]
    store.track("deleted", two, rows)
    gone = store.trial("deleted", "e2-0").info.run_id
    store.client.delete_run(gone)
    (cell, *_) = store.kind("deleted", "cell")
    store.client.delete_run(cell.info.run_id)
    store.track("deleted", two, rows)
    assert store.trial("deleted", "e2-0").info.run_id != gone
    assert len(store.kind("deleted", "cell")) == 2


def test_a_run_that_contradicts_the_ledger_is_replaced(
    store: Store, two: list[Point], make_row: Make
) -> None:
    row = make_row("e2", 0, 0.9)
    tracker = store.tracker("contradicts", two)
    tracker.started(row.key, "e2", {}, 0)
    tracker.epoch(row.key, 1, {"val.accuracy": 0.123})
    assert tracker.close(60)
    store.track("contradicts", two, [row])
    history = store.history(store.trial("contradicts", row.key), "val.accuracy")
    assert history == [(int(epoch["epoch"]), epoch["val.accuracy"]) for epoch in row.history]


def test_live_runs_appear_while_they_train(store: Store, two: list[Point], make_row: Make) -> None:
    row = make_row("e2", 1, 0.9)
    tracker = store.tracker("live", two, [make_row("e2", 0, 0.8)])
    tracker.started(row.key, "e2", two[2].labels, 1)
    tracker.epoch(row.key, 1, row.history[0])
    tracker.epoch(row.key, 2, row.history[1])
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = store.client.get_experiment_by_name("live/trials")
        runs = store.runs("live/trials") if found else []
        if runs and "val.accuracy" in runs[0].data.metrics:
            break
        time.sleep(0.05)
    (run,) = runs
    assert run.info.status == "RUNNING"
    assert run.data.params == {"method.epsilon": "2", "method.p": "0.5", "seed": "1"}
    tracker.finished(row)
    assert tracker.close(60)
    run = store.trial("live", row.key)
    assert run.info.status == "FINISHED"
    assert sorted(step for step, _ in store.history(run, "val.accuracy")) == [1, 2, 3]
    (cell,) = store.kind("live", "cell")  # with the row that the ledger held before
    assert cell.data.metrics["mean"] == pytest.approx(0.85)
    assert cell.data.metrics["n"] == 2


def test_a_partial_live_run_is_completed_without_doubles(
    store: Store, two: list[Point], make_row: Make
) -> None:
    row = make_row("e2", 0, epochs=5)
    tracker = store.tracker("partial", two)
    tracker.started(row.key, "e2", {}, 0)
    tracker.epoch(row.key, 2, row.history[1])  # epoch 1 was not forwarded
    assert tracker.close(60)
    stopped = store.trial("partial", row.key)
    assert [run.info.status for run in store.kind("partial", "sweep")] == ["SCHEDULED"]
    assert (stopped.info.status, stopped.data.tags["status"]) == ("KILLED", "stopped")

    again = store.tracker("partial", two)
    again.started(row.key, "e2", {}, 0)
    again.epoch(row.key, 2, row.history[1])
    for _ in range(2):  # it went back to a checkpoint
        again.epoch(row.key, 3, row.history[2])
    assert again.close(60)
    store.track("partial", two, [row])
    run = store.trial("partial", row.key)
    assert run.info.run_id == stopped.info.run_id
    for metric in ("val.accuracy", "train.loss"):
        expected = [(int(epoch["epoch"]), epoch[metric]) for epoch in row.history]
        assert sorted(store.history(run, metric)) == expected


def test_a_tracker_completes_the_sweep_at_its_end(store: Store, two: list[Point], make_row: Make) -> None:
    rows = [make_row(cell, seed) for cell in ("clean", "e2") for seed in SEEDS]
    tracker = store.tracker("ends", two)
    tracker.complete(two, rows)
    assert tracker.close(60)
    assert len(store.kind("ends", "trial")) == 4
    (parent,) = store.kind("ends", "sweep")
    assert parent.info.status == "FINISHED"


def test_numbers_that_are_none_are_tracked_once(store: Store, two: list[Point], make_row: Make) -> None:
    history = [{"epoch": 1.0, "train.loss": float("inf")}, {"epoch": 2.0, "train.loss": float("nan")}]
    row = make_row("e2", 0, status="diverged", history=history, error="the loss became NaN in epoch 2")
    store.track("none", two, [row])
    later = replace(row, finished="2026-05-01T00:00:00+00:00")  # makes the tracker look at what is there
    before = store.trial("none", row.key).info.run_id
    store.track("none", two, [later])
    assert store.trial("none", row.key).info.run_id == before
    assert len(store.history(store.trial("none", row.key), "train.loss")) == 2


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_outage_costs_one_warning_and_no_time(
    closed_port: int, two: list[Point], make_row: Make, caplog: pytest.LogCaptureFixture, store: Store
) -> None:
    start = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="perturb"):
        uri = f"http://anna:secret@127.0.0.1:{closed_port}"
        tracker = Tracker(uri, None, "away", two, ACCURACY, SEEDS)
        for seed in SEEDS:
            row = make_row("e2", seed)
            tracker.started(row.key, "e2", {}, seed)
            for epoch in range(1, 1000):
                tracker.epoch(row.key, epoch, {"val.accuracy": 0.5})
            tracker.finished(row)
        told = time.monotonic() - start
        complete = tracker.close(30)
    assert told < 1
    assert time.monotonic() - start < 20
    assert not complete
    (warning,) = [record for record in caplog.records if record.name == "perturb"]
    assert "perturb track" in warning.getMessage()
    assert "secret" not in caplog.text


def test_tracking_by_hand_says_in_one_line_that_mlflow_is_away(
    closed_port: int, two: list[Point], store: Store
) -> None:
    uri = f"http://anna:secret@127.0.0.1:{closed_port}"
    with pytest.raises(TrackingError, match=r"^MLflow at http://127\.0\.0\.1:\d+: ") as caught:
        track(uri, None, "away", two, [], ACCURACY, SEEDS)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_never_answers_does_not_hold_the_driver(
    two: list[Point], caplog: pytest.LogCaptureFixture, store: Store
) -> None:
    with socket.socket() as silent, caplog.at_level(logging.WARNING, logger="perturb"):
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        tracker = Tracker(f"http://127.0.0.1:{silent.getsockname()[1]}", None, "slow", two, ACCURACY, SEEDS)
        tracker.started("k", "e2", {}, 0)
        start = time.monotonic()
        assert not tracker.close(0.5)
        assert time.monotonic() - start < 2
        assert "within 0.5 s" in tracker.problem


def test_an_outage_that_ends_is_made_up_for(
    store: Store, two: list[Point], make_row: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [make_row("e2", seed) for seed in SEEDS]
    tracker = store.tracker("returns", two)
    opened = tracker._open
    failures = [OSError("no route"), None]

    def flaky() -> Any:
        problem = failures.pop(0)
        if problem:
            raise problem
        return opened()

    monkeypatch.setattr(tracker, "_open", flaky)
    tracker.started(rows[0].key, "e2", {}, 0)
    until = time.monotonic() + 10
    while not tracker.problem and time.monotonic() < until:
        time.sleep(0.01)
    assert "no route" in tracker.problem
    tracker.finished(rows[0])  # lost
    tracker.complete(two, rows)
    assert tracker.close(60)
    assert len(store.kind("returns", "trial")) == 2


def test_nothing_is_said_on_the_terminal(
    store: Store, two: list[Point], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    track(default_uri(tmp_path), default_artifacts(tmp_path), "quiet", two, [], ACCURACY, SEEDS)
    assert capfd.readouterr() == ("", "")


def test_a_dispatcher_is_followed(store: Store, two: list[Point], make_row: Make) -> None:
    done, stopped = make_row("e2", 0), make_row("e2", 1)
    tracker = store.tracker("followed", two)
    follower = Follower(tracker, {done.key: done}.get)
    for row in (done, stopped):
        job = Job(row.key, row.cell, row.seed, trial={}, labels=dict(two[2].labels))
        follower.started(job)
        follower.epoch(job, 1, row.history[0])
    follower.finished(Job(done.key, "e2", 0, trial={}), Outcome(done.key, "completed"))
    follower.finished(Job(stopped.key, "e2", 1, trial={}), Outcome(stopped.key, "stopped"))
    looking = Job("e", "e2", 0, trial={}, parent=done.key, evaluation={"name": "e", "label": "mine"})
    follower.finished(looking, Outcome("e", "stopped"))
    follower.finished(Job("never begun", "e2", 2, trial={}), Outcome("never begun", "stopped"))
    assert tracker.close(60)
    assert tracker.problem == ""
    assert store.trial("followed", done.key).info.status == "FINISHED"
    assert store.trial("followed", stopped.key).info.status == "KILLED"
    (cell,) = store.kind("followed", "cell")
    assert (cell.data.metrics["n"], cell.info.status) == (1, "SCHEDULED")
