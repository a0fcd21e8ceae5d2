"""Evaluations in reports: tables by measure, what is missing, failed, or measured at another checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.planning.cells import Point
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.row import Row
from orchestrator.reports.draw import Drawing, draw
from orchestrator.reports.facts import failures
from orchestrator.reports.summary import Measure, summarise
from orchestrator.reports.words import in_line, lines_of

ACCURACY = Measure("val.accuracy")
POINTS = [Point({"method.epsilon": e}, f"c{e}") for e in (1, 2)]
Make = Callable[..., Row]


def look(row: Row, label: str, **changes: Any) -> Row:
    """The row with an evaluation, whose ``metrics`` and other fields are given."""
    one = EvaluationRow(f"{row.key}-{label}", row.key, row.cell, row.seed, "best", "e", label, "completed")
    return replace(row, evaluations={**row.evaluations, label: replace(one, **changes)})


def drawn(rows: list[Row], *reports: Any) -> dict[str, Drawing]:
    return {one.name: one for one in draw("s", POINTS, rows, ACCURACY, (0, 1), reports)}


@pytest.fixture
def rows(make_row: Make) -> list[Row]:
    """Two cells of two seeds; FGSM everywhere, PGD at the last checkpoint and only of the first three."""
    found = [make_row(f"c{e}", seed) for e in (1, 2) for seed in (0, 1)]
    found = [look(r, "FGSM", metrics={"accuracy": 0.5 + i / 10}) for i, r in enumerate(found)]
    made = {"checkpoint": "last", "metrics": {"accuracy": 0.3, "accuracy@0.1": 0.2, "loss": 2.0}}
    return [look(r, "PGD", **made) for r in found[:3]] + found[3:]


def test_a_table_for_each_measure_with_a_column_for_each_evaluation(rows: list[Row]) -> None:
    tables = drawn(rows)
    assert set(tables) == {
        "table_all", "evaluations_accuracy", "evaluations_PGD.accuracy", "evaluations_loss",
    }  # fmt: skip
    (panel,) = tables["evaluations_accuracy"].panels
    assert panel.columns == ("FGSM (best)", "PGD (last)")
    assert panel.title == "accuracy, %, by evaluation"
    assert [in_line(panel.places[i, 0], ACCURACY) for i in (0, 1)] == ["55.00 ± 7.07 (2)", "75.00 ± 7.07 (2)"]
    assert [in_line(panel.places[i, 1], ACCURACY) for i in (0, 1)] == ["30.00 ± 0.00 (2)", "30.00 (1/2)"]
    assert panel.bests(ACCURACY) == [panel.places[1, 0], panel.places[0, 1]], "the best of each column"
    (settings,) = tables["evaluations_PGD.accuracy"].panels
    assert (settings.columns, settings.title) == (("0.1",), "PGD.accuracy, %, by setting, last epoch")
    assert tables["evaluations_loss"].metric.mode == "min"
    assert tables["evaluations_accuracy"].csv().count("\n") == 1 + 2 * 2, "long form: points times metrics"


def test_what_is_not_evaluated_is_missing_and_what_failed_says_so(rows: list[Row]) -> None:
    pgd = Measure("PGD.accuracy", checkpoint="last")
    cell = summarise(["c2"], rows, pgd, (0, 1))["c2"]
    assert (cell.n, cell.missing, cell.mark) == (1, 1, "")
    rows[3] = look(rows[3], "PGD", status="failed", failure="out of memory", error="Boom: too big")
    cell = summarise(["c2"], rows, pgd, (0, 1))["c2"]
    assert (cell.n, cell.missing, cell.mark) == (1, 0, "evaluation out of memory")
    assert "1/2 evaluation out of memory" in lines_of(cell, pgd)
    (failure,) = failures(POINTS, rows)
    assert (failure.key, failure.mark, failure.reason) == ("c2-1-PGD", "PGD: out of memory", "Boom: too big")
    assert summarise(["c2"], rows, ACCURACY, (0, 1))["c2"].complete, "the trial's own metrics stand"


def test_a_diverged_trial_and_one_without_the_measure(make_row: Make) -> None:
    pgd = Measure("PGD.accuracy")
    rows = [make_row("c1", 0, status="diverged"), look(make_row("c1", 1), "PGD", metrics={"loss": 1.0})]
    cell = summarise(["c1"], rows, pgd, (0, 1))["c1"]
    assert dict(cell.failures) == {"diverged": 1, "no value": 1}


def test_a_report_of_an_evaluation_is_at_its_checkpoint(rows: list[Row], want: type[Any]) -> None:
    tables = drawn(rows, want(curve="method.epsilon", metric="PGD.accuracy"))
    metric = tables["curve_method.epsilon"].metric
    assert (metric.name, metric.checkpoint, metric.mode) == ("PGD.accuracy", "last", "max")
    assert [cell.n for _, cell in tables["curve_method.epsilon"].lines[0].places] == [2, 1]
