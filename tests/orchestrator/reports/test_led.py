"""Reports that come of a search unasked: the Pareto front and importances."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports import terminal, write_reports
from orchestrator.reports.draw import Led, draw
from orchestrator.reports.importances import Importances
from orchestrator.reports.pareto import Front, front
from orchestrator.reports.summary import Measure
from orchestrator.sweepfile.parts import Searched
from orchestrator.tracking.record import table_columns

ACCURACY, LOSS = Measure("val.accuracy"), Measure("val.loss", "min")
SPACE = {name: Searched.model_validate({"uniform": [0, 1]}) for name in ("p", "<e>")}
Built = tuple[list[Point], list[Row]]


@pytest.fixture
def searched(make_row: Callable[..., Row]) -> Built:
    """30 points of two seeds, the last of which lacks one; accuracy rises with p, so does the loss."""
    draws = random.Random(0)
    points = [Point({"p": draws.random(), "<e>": draws.random()}, f"c{i}") for i in range(30)]
    rows = []
    for point, seed in product(points, (0, 1)):
        p = point.labels["p"]
        metrics = {"val.accuracy": p + seed / 100, "val.loss": 2 * p + abs(point.labels["<e>"] - 0.5)}
        metrics["test.accuracy"] = 1 - p
        rows.append(make_row(point.cell, seed, best=metrics, last=metrics))
    return points, rows[:-1]


@pytest.mark.parametrize("n_objectives", [2, 3])
def test_front_against_brute_force(n_objectives: int) -> None:
    draws = random.Random(1)
    values = [tuple(draws.randint(0, 6) for _ in range(n_objectives)) for _ in range(80)]
    maximise = [True, False, True][:n_objectives]

    def dominated(one: tuple[int, ...]) -> bool:
        signed = [tuple(v if up else -v for v, up in zip(x, maximise, strict=True)) for x in (one, *values)]
        mine, others = signed[0], signed[1:]
        return any(o != mine and all(a >= b for a, b in zip(o, mine, strict=True)) for o in others)

    assert front(values, maximise) == [not dominated(one) for one in values]
    assert front([], maximise) == []


def test_a_search_with_objectives(searched: Built) -> None:
    points, rows = searched
    drawings = draw("s", points, rows, ACCURACY, [0, 1], [Led([ACCURACY, LOSS], SPACE)])
    assert [one.name for one in drawings] == ["table_all", "pareto", "importances", "importances_val.loss"]
    found = drawings[1]
    assert isinstance(found, Front)
    assert len(found.complete) == 29
    assert "29 complete cells" in found.notes
    assert "1 incomplete ones are left out" in found.notes
    means = [found.cells[point.cell].mean for point in found.best]
    assert means == sorted(means, reverse=True), "the best by the first objective first"
    lines = list(csv.DictReader(io.StringIO(found.csv())))
    assert [line["cell"] for line in lines] == [point.cell for point in found.complete]
    assert {line["cell"] for line in lines if line["front"] == "yes"} == {point.cell for point in found.best}
    assert all(line["val.accuracy n"] == "2" for line in lines)
    assert float(lines[0]["val.accuracy sd"]) == pytest.approx(0.01 / 2**0.5)


def test_the_table_of_a_front_has_each_objectives_own_form(searched: Built) -> None:
    points, rows = searched
    found = draw("s", points, rows, ACCURACY, [0, 1], [Led([ACCURACY, LOSS], {})])[1]
    (panel,) = found.tables()
    assert panel.columns == ("val.accuracy, %", "val.loss")
    assert [panel.of(j, ACCURACY).name for j in range(2)] == ["val.accuracy", "val.loss"]
    best = panel.bests(ACCURACY)
    places = {j: [cell for (_, k), cell in panel.places.items() if k == j] for j in range(2)}
    assert best[0] is max(places[0], key=lambda cell: cell.mean)
    assert best[1] is min(places[1], key=lambda cell: cell.mean)


def test_three_objectives_have_a_figure_a_pair(searched: Built) -> None:
    points, rows = searched
    also = Measure("test.accuracy")
    found = draw("s", points, rows, ACCURACY, [0, 1], [Led([ACCURACY, LOSS, also], {})])[1]
    assert len(found.pngs()) == len(found.interactive()) == 3


def test_importances(searched: Built) -> None:
    points, rows = searched
    found = draw("s", points, rows, ACCURACY, [0, 1], [Led([ACCURACY], SPACE)])[1]
    assert isinstance(found, Importances)
    assert next(iter(found.shares())) == "p"
    columns = table_columns(found)
    assert columns["setting"] == list(found.shares())
    assert columns["n"] == [29, 29]
    lines = list(csv.DictReader(io.StringIO(found.csv())))
    assert sum(float(line["fanova"]) for line in lines) == pytest.approx(1)
    assert sum(float(line["ped_anova"]) for line in lines) == pytest.approx(1)


def test_too_few_cells(searched: Built) -> None:
    points, rows = searched
    found = draw("s", points[:5], rows, ACCURACY, [0, 1], [Led([ACCURACY], SPACE)])[1]
    assert found.notes == "No importances: they need at least 20 cells with a value; there are 5."
    assert (found.pngs(), found.interactive()) == ({}, {})
    assert found.csv() == "setting,fanova,ped_anova,n,metric\n"


def test_a_grid_has_a_front_and_no_importances(searched: Built) -> None:
    points, rows = searched
    names = [one.name for one in draw("s", points, rows, ACCURACY, [0, 1], [Led([ACCURACY, LOSS], {})])]
    assert names == ["table_all", "pareto"]


def test_files_page_and_terminal(searched: Built, tmp_path: Path) -> None:
    from rich.console import Console

    points, rows = searched
    reports = [Led([ACCURACY, LOSS], SPACE)]
    files = write_reports(tmp_path, "s", "", points, rows, ACCURACY, [0, 1], reports, "", True)
    names = {file.name for file in files}
    for name in ("pareto", "importances", "importances_val.loss"):
        assert {f"{name}.csv", f"{name}.png", f"{name}.html"} <= names
    page = files[0].read_text()
    assert "Pareto front of val.accuracy against val.loss" in page
    assert "&lt;e&gt;" in page
    assert "<e>" not in page.replace('"<e>"', "")
    console = Console(width=120, record=True, file=io.StringIO())
    for shown in terminal("s", points, rows, ACCURACY, [0, 1], reports):
        console.print(shown)
    text = console.export_text()
    assert "PED-ANOVA" in text
    assert "complete cells are on the front" in text
