"""Writing to MLflow's database at once leaves what MLflow's own calls leave."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from sqlalchemy import event

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports.summary import Measure
from orchestrator.tracking import bulk, mlflow_store
from orchestrator.tracking.mlflow_store import Client, Value
from orchestrator.tracking.track import track

Make = Callable[..., Row]
POINTS = [Point({"method.p": 0.5}, "c0"), Point({"method.p": 1}, "c1")]
METRIC = Measure("val.accuracy")


@pytest.fixture
def client(place: tuple[str, str]) -> Client:
    return Client(*place)


def held(client: MlflowClient, run: Run) -> dict[str, Any]:
    """All that a run holds, without its id and the wall clock."""
    points = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "metrics": {name: repr(value) for name, value in run.data.metrics.items()},
        "history": {n: sorted((m.step, repr(m.value)) for m in found) for n, found in points.items()},
        "params": run.data.params,
        "tags": {k: v for k, v in run.data.tags.items() if k != mlflow_store.PARENT},
        "ended": run.info.end_time is not None,
    }


def everything(place: tuple[str, str], name: str) -> list[dict[str, Any]]:
    client, found = MlflowClient(tracking_uri=place[0]), []
    for experiment in (name, f"{name}/trials"):
        known = client.get_experiment_by_name(experiment)
        assert known is not None
        found += [held(client, run) for run in client.search_runs([known.experiment_id])]
    return sorted(found, key=repr)


def test_both_ways_leave_the_same(
    place: tuple[str, str], make_row: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [{"epoch": 1.0, "train.loss": float("inf")}, {"epoch": 2.0, "train.loss": float("nan")}]
    rows = [
        make_row("c0", 0, epochs=5),
        make_row("c0", 1, status="failed", failure="error", error="ValueError: no"),
        make_row("c1", 0, status="diverged", history=broken),
    ]
    later = [*rows[:1], make_row("c0", 1, 0.7, finished="2026-04-01T00:00:00+00:00"), rows[2]]
    found = []
    for quick in (True, False):
        if not quick:
            monkeypatch.setattr(bulk, "database", lambda client: None)
        for some in (rows, later):
            track(*place, "same", POINTS, some, METRIC, (0, 1))
        experiment = everything(place, "same")
        found.append(experiment)
        client = MlflowClient(tracking_uri=place[0])
        for name in ("same", "same/trials"):
            known = client.get_experiment_by_name(name)
            assert known is not None
            client.rename_experiment(known.experiment_id, f"{name} {quick}")
    for experiment in found:
        for run in experiment:
            run["tags"] = {k: v for k, v in run["tags"].items() if k not in ("mlflow.user", "artifacts")}
    assert found[0] == found[1]
    assert sum(len(run["history"]) for run in found[0]) > 20


def test_the_latest_point_is_by_step_and_then_by_time(client: Client) -> None:
    run = client.create(client.experiment("latest"), "r", 0, {"key": "k"})
    client.log(run, [Value("a", 3.0, 1000, 3), Value("a", 1.0, 2000, 1)])
    client.log(run, [Value("a", 2.0, 3000, 2), Value("b", 1.0, 5, 0), Value("b", 7.0, 6, 0)])
    found = client.mlflow.get_run(run.id).data.metrics
    assert found == {"a": 3.0, "b": 7.0}
    client.log(run, [Value("a", 4.0, 0, 4)])
    assert client.mlflow.get_run(run.id).data.metrics["a"] == 4.0
    assert len(client.history(run, "a")) == 4


def test_what_is_there_already_is_not_doubled(client: Client) -> None:
    """The answer to the first call was lost, so that the same values are logged again."""
    run = client.create(client.experiment("doubled"), "r", 0, {"key": "k"})
    values = [Value("a", float(step), step, step) for step in range(1, 4)]
    client.log(run, values, {"p": "1"}, {"tracked": "no"})
    lost = replace(run, params={}, tags={}, metrics={})
    client.log(lost, [*values, Value("a", 4.0, 4, 4)], {"p": "1"}, {"tracked": "yes"}, "FINISHED")
    found = client.mlflow.get_run(run.id)
    assert client.history(run, "a") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    assert (found.data.tags["tracked"], found.info.status) == ("yes", "FINISHED")


def test_a_transaction_is_whole_or_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    run = client.create(client.experiment("whole"), "r", 0, {"key": "k"})

    def fail(*args: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(bulk, "_latest", fail)
    with pytest.raises(Exception, match="no space left"):
        client.log(run, [Value("a", 1.0, 1, 1)], {"p": "1"}, {"tracked": "yes"}, "FINISHED")
    found = client.mlflow.get_run(run.id)
    assert (found.data.metrics, found.data.params, found.info.status) == ({}, {}, "RUNNING")


def test_another_mlflow_goes_the_long_way(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.tracking.dbmodels.models import SqlMetric

    assert bulk.database(client.mlflow) is client.database is not None
    assert bulk.database(object()) is None
    columns = dict.fromkeys(("run_uuid", "key", "value", "shard"))
    monkeypatch.setattr(SqlMetric, "__table__", SimpleNamespace(columns=columns))
    assert bulk.database(client.mlflow) is None


def test_together_is_one_transaction_of_this_thread(client: Client, place: tuple[str, str]) -> None:
    experiment = client.experiment("together")
    commits: list[str] = []
    event.listen(client.database.engine, "commit", lambda connection: commits.append(""))  # type: ignore[union-attr]
    with client.together():
        for name in "abc":
            run = client.create(experiment, name, 0, {"key": name})
            client.log(run, [Value("m", 1.0, 1, 1)], {"p": "1"}, {"t": "1"}, "FINISHED")
    assert len(commits) == 1
    assert set(client.runs(experiment, "key")) == set("abc")

    other = Client(*place)
    found: list[int] = []

    def broken() -> None:
        with client.together():
            client.create(experiment, "d", 0, {"key": "d"})
            thread = threading.Thread(target=lambda: found.append(len(other.runs(experiment, "key"))))
            thread.start()
            thread.join()
            raise KeyError("as it is")

    with pytest.raises(KeyError, match="as it is"):
        broken()
    assert found == [3], "another thread sees what was committed"
    assert set(client.runs(experiment, "key")) == set("abc"), "all of it is taken back"


def test_a_value_that_is_there_is_a_conflict(client: Client) -> None:
    run = client.create(client.experiment("there"), "r", 0, {"key": "k"})
    client.log(run, [Value("a", 1.0, 1, 1)])
    with pytest.raises(mlflow_store.Conflict), client.together():
        client.log(run, [Value("a", 1.0, 1, 1), Value("a", 2.0, 2, 2)])
    assert client.history(run, "a") == [(1, 1.0)]


def test_a_conflict_in_a_transaction_is_told_alone(
    place: tuple[str, str], make_row: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [make_row(cell, seed) for cell in ("c0", "c1") for seed in (0, 1)]
    written, failed = bulk.write, [False]

    def write(store: Any, run: str, metrics: Any, params: Any, tags: Any, *more: Any) -> None:
        if tags.get("tracked") and not failed[0]:
            failed[0] = True
            raise MlflowException("it is there", BAD_REQUEST)
        written(store, run, metrics, params, tags, *more)

    monkeypatch.setattr(bulk, "write", write)
    track(*place, "conflict", POINTS, rows, METRIC, (0, 1))
    assert failed[0]
    found = everything(place, "conflict")
    assert sorted(run["tags"]["kind"] for run in found) == ["cell"] * 2 + ["sweep"] + ["trial"] * 4
    assert {run["status"] for run in found} == {"FINISHED"}


def test_doubles_are_deleted_but_the_oldest(client: Client) -> None:
    """The answer to a call that made a run was lost, and the call was made again."""
    experiment = client.experiment("doubles")
    first, second = (client.create(experiment, "r", start, {"key": "k"}) for start in (1, 2))
    assert client.runs(experiment, "key")["k"].id == first.id
    assert client.mlflow.get_run(second.id).info.lifecycle_stage == "deleted"
    assert [run.info.run_id for run in client.mlflow.search_runs([experiment])] == [first.id]
