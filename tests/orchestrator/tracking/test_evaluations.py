"""Evaluations in MLflow: in the run of their trial, once, under the label that the sweep gives them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.driver import evaluate, run
from orchestrator.options import Options
from orchestrator.planning.cells import Point
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.row import Row
from orchestrator.reports.summary import Measure
from orchestrator.tracking import mlflow_store
from orchestrator.tracking.mlflow_store import default_artifacts, default_uri
from orchestrator.tracking.track import track
from tests.orchestrator.sweeps import probing

POINTS = [Point({"method.epsilon": 1}, "c")]
Make = Callable[..., Row]


class Store:
    """One SQLite store for the module."""

    def __init__(self, folder: Path) -> None:
        self.uri, self.artifacts = default_uri(folder), default_artifacts(folder)

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri)  # after ours, which quiets MLflow's deprecations

    def track(self, name: str, rows: list[Row]) -> None:
        track(self.uri, self.artifacts, name, POINTS, rows, Measure("val.accuracy"), (0, 1))

    def runs(self, experiment: str, kind: str) -> list[Run]:
        found = self.client.get_experiment_by_name(experiment)
        assert found is not None
        return [r for r in self.client.search_runs([found.experiment_id]) if r.data.tags["kind"] == kind]

    def everything(self, name: str) -> list[Any]:
        found = []
        for run_ in [
            *self.runs(name, "sweep"),
            *self.runs(name, "cell"),
            *self.runs(f"{name}/trials", "trial"),
        ]:
            values = {
                metric: [(m.step, m.value) for m in self.client.get_metric_history(run_.info.run_id, metric)]
                for metric in run_.data.metrics
            }
            found.append((run_.info.run_id, run_.info.status, run_.data.tags, values))
        return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in mlflow_store.PATIENCE.items():
            patch.setenv(name, value)
        yield Store(tmp_path_factory.mktemp("mlflow"))


def evaluated(row: Row, label: str = "PGD-20", value: float = 0.4, **changes: Any) -> Row:
    one = EvaluationRow(
        f"{row.key}-pgd", row.key, row.cell, row.seed, "best", "pgd", label, "completed",
        metrics={"accuracy": value, "accuracy@0.1": value / 2}, tables={"curve": [{"epsilon": 0.1, "n": 3}]},
        finished="2026-02-01T00:00:00+00:00",
    )  # fmt: skip
    return replace(row, evaluations={**row.evaluations, label: replace(one, **changes)})


def test_metrics_and_tables_stand_in_the_trials_run(store: Store, make_row: Make, tmp_path: Path) -> None:
    rows = [evaluated(make_row("c", 0), value=0.4), evaluated(make_row("c", 1), value=0.5)]
    store.track("metrics", rows)
    (one, _) = sorted(store.runs("metrics/trials", "trial"), key=lambda r: r.data.tags["seed"])
    assert one.data.metrics["PGD-20.accuracy"] == 0.4
    assert one.data.metrics["PGD-20.accuracy_0.1"] == 0.2
    assert one.data.tags["evaluation.PGD-20"].startswith("completed c-0-pgd")
    path = store.client.download_artifacts(one.info.run_id, "evaluations/PGD-20.curve.json", str(tmp_path))
    assert json.loads(Path(path).read_text()) == {"columns": ["epsilon", "n"], "data": [[0.1, 3]]}
    (cell,) = store.runs("metrics", "cell")
    assert cell.data.metrics["PGD-20.accuracy.mean"] == pytest.approx(0.45)
    assert cell.data.metrics["PGD-20.accuracy.n"] == 2
    assert not any("best.PGD-20" in name for name in (*one.data.metrics, *cell.data.metrics))


def test_tracking_twice_changes_nothing(store: Store, make_row: Make) -> None:
    rows = [evaluated(make_row("c", 0))]
    store.track("twice", rows)
    before = store.everything("twice")
    store.track("twice", rows)
    assert store.everything("twice") == before


def test_one_that_is_added_later_leaves_the_run(store: Store, make_row: Make) -> None:
    row = make_row("c", 0)
    store.track("added", [row])
    (before,) = store.runs("added/trials", "trial")
    store.track("added", [evaluated(row)])
    store.track("added", [evaluated(evaluated(row), "CW", 0.3)])
    (after,) = store.runs("added/trials", "trial")
    assert after.info.run_id == before.info.run_id
    assert (after.data.metrics["PGD-20.accuracy"], after.data.metrics["CW.accuracy"]) == (0.4, 0.3)
    assert len(store.client.get_metric_history(after.info.run_id, "val.accuracy")) == 3


def test_a_failed_one_is_told_and_later_mended(store: Store, make_row: Make) -> None:
    row = make_row("c", 0)
    failed = evaluated(row, status="failed", failure="out of memory", metrics={}, tables={})
    store.track("failed", [failed])
    (run_,) = store.runs("failed/trials", "trial")
    assert run_.data.tags["evaluation.PGD-20"].startswith("failed out of memory")
    assert run_.info.status == "FINISHED", "the trial is what it was"
    store.track("failed", [evaluated(row)])
    (mended,) = store.runs("failed/trials", "trial")
    assert mended.info.run_id == run_.info.run_id
    assert mended.data.metrics["PGD-20.accuracy"] == 0.4


def test_a_label_that_means_another_evaluation_now_is_written_anew(store: Store, make_row: Make) -> None:
    row = make_row("c", 0)
    store.track("anew", [evaluated(row)])
    store.track("anew", [evaluated(row, key="another", value=0.1)])
    (run_,) = store.runs("anew/trials", "trial")
    history = store.client.get_metric_history(run_.info.run_id, "PGD-20.accuracy")
    assert [m.value for m in history] == [0.1]
    assert len(store.client.get_metric_history(run_.info.run_id, "val.accuracy")) == 3


def test_live_and_after_a_sweep(tmp_path: Path) -> None:
    options = Options(str(tmp_path), local=True)
    run(probing(keep="best", axes={}), options)
    mine = Store(tmp_path)
    (before,) = mine.runs("probed/trials", "trial")
    assert "probing.accuracy" in before.data.metrics
    two = {"name": "probing", "steps": 2, "label": "two"}
    evaluate(probing("probing", two, axes={}), options)
    (after,) = mine.runs("probed/trials", "trial")
    assert after.info.run_id == before.info.run_id
    assert after.data.metrics["two.accuracy"] == after.data.metrics["probing.accuracy"]
    everything = mine.everything("probed")
    evaluate(probing("probing", two, axes={}), options)
    assert [one[3] for one in mine.everything("probed")] == [one[3] for one in everything]
