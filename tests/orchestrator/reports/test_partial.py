"""One of five seeds fails: every report says 4/5 and why, and no mean stands there in silence."""

from __future__ import annotations

import csv
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports import figures, interactive
from orchestrator.reports.draw import draw
from orchestrator.reports.figures import Heading
from orchestrator.reports.layout import panels
from orchestrator.reports.summary import Measure, summarise
from orchestrator.reports.write import terminal, write_reports
from orchestrator.sweepfile.parts import Report
from orchestrator.tracking.record import cell_metrics, table_columns

METRIC = Measure("val.accuracy")
SEEDS = (0, 1, 2, 3, 4)
GRID = Report(grid=("method.epsilon", "method.p"))

Make = Callable[..., Any]


@pytest.fixture
def points(make_grid: Make) -> list[Point]:
    return list(make_grid((1, 5), (0.5, 0.7)))


@pytest.fixture
def rows(points: list[Point], make_rows: Make, make_row: Make) -> list[Row]:
    found = make_rows(points, SEEDS)
    found[-1] = make_row(found[-1].cell, 4, status="failed", failure="lost")
    return list(found)


def test_the_terminal_says_so(points: list[Point], rows: list[Row]) -> None:
    out = StringIO()
    console = Console(file=out, width=120)
    for shown in terminal("s", points, rows, METRIC, SEEDS, [GRID]):
        console.print(shown)
    assert "4/5 lost" in out.getvalue()
    assert "1 failed" in out.getvalue()


def test_page_csv_and_figures_say_so(points: list[Point], rows: list[Row], tmp_path: Path) -> None:
    write_reports(tmp_path, "s", "", points, rows, METRIC, SEEDS, [GRID], "", False)
    page = (tmp_path / "report.html").read_text()
    assert "4/5 lost" in page
    assert "95 %: " in page
    (name,) = (path.name for path in tmp_path.glob("*.csv"))
    with (tmp_path / name).open() as file:
        (partial,) = [line for line in csv.DictReader(file) if line["n"] != line["planned"]]
    assert (partial["n"], partial["planned"], partial["failures"]) == ("4", "5", "lost:1")
    assert float(partial["ci95_low"]) < float(partial["mean"]) < float(partial["ci95_high"])


def texts(figure: Any) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in figure.axes[0].texts)


def test_heatmaps_say_so_also_where_no_number_fits(points: list[Point], rows: list[Row]) -> None:
    cells = summarise((point.cell for point in points), rows, METRIC, SEEDS)
    (panel,) = panels(points, cells, "method.epsilon", "method.p")
    assert "4/5 lost" in texts(figures.heatmap(panel, Heading("s", METRIC)))
    wide = [Point({"x": i, "y": 0}, points[i % 4].cell) for i in range(figures.MOST_WRITTEN + 2)]
    (panel,) = panels(wide, cells, "x", "y")
    partial = sum(not cell.complete for cell in panel.places.values())
    assert texts(figures.heatmap(panel, Heading("s", METRIC))).split() == ["!"] * partial
    drawn = interactive.heatmap(panel, Heading("s", METRIC))
    assert [one.text for one in drawn.layout.annotations] == ["!"] * partial
    assert partial > 0


def test_the_pointer_tells_the_interval_and_what_is_missing(points: list[Point], rows: list[Row]) -> None:
    (drawing,) = draw("s", points, rows, METRIC, SEEDS, [GRID])
    (figure,) = drawing.interactive().values()
    hovers = [text for row in figure.data[1].hovertext for text in row]
    assert all("95 %: " in text for text in hovers)
    assert sum("n: 4 of 5" in text and "lost: 1" in text for text in hovers) == 1


def test_a_scatter_says_so(rows: list[Row], points: list[Point]) -> None:
    cells = summarise((point.cell for point in points), rows, METRIC, SEEDS)
    spread = [Point({"x": i, "y": i * i}, point.cell) for i, point in enumerate(points)]
    (panel,) = panels(spread, cells, "x", "y")
    legend = figures.scatter(panel, Heading("s", METRIC)).axes[0].get_legend_handles_labels()[1]
    assert "incomplete" in legend


def test_mlflow_is_told(points: list[Point], rows: list[Row]) -> None:
    cell = points[-1].cell
    summary = summarise([cell], rows, METRIC, SEEDS)[cell]
    told = cell_metrics(summary, [row for row in rows if row.cell == cell], SEEDS)
    assert (told["n"], told["planned"], told["failures"]) == (4, 5, 1)
    (drawing,) = draw("s", points, rows, METRIC, SEEDS, [GRID])
    assert table_columns(drawing)["failures"][-1] == "lost"


def test_a_cell_that_lost_a_seed_is_never_the_best(points: list[Point], rows: list[Row]) -> None:
    better = [
        Row(**{**vars(row), "best": {"val.accuracy": 1.0}}) if row.cell == points[-1].cell else row
        for row in rows
    ]
    (drawing,) = draw("s", points, better, METRIC, SEEDS, [GRID])
    best = drawing.panels[0].best(METRIC)
    assert best is not None
    assert best.cell != points[-1].cell
