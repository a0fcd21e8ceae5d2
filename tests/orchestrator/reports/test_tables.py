from __future__ import annotations

import csv
import io
from collections.abc import Callable

from rich.console import Console

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports.layout import panels
from orchestrator.reports.summary import Measure, summarise
from orchestrator.reports.tables import COLUMNS, panel_table, points_panel, to_csv

ACCURACY = Measure("val.accuracy")
Sweep = tuple[list[Point], list[Row]]


def printed(*tables: object) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    for table in tables:
        console.print(table)
    return console.export_text()


def test_csv_has_a_line_for_each_place_with_numbers_as_measured(grid: Sweep) -> None:
    points, rows = grid
    cells = summarise((p.cell for p in points), rows, ACCURACY, [0, 1])
    lines = list(csv.DictReader(io.StringIO(to_csv(points, [(ACCURACY, cells)]))))
    assert list(lines[0]) == ["method.epsilon", "method.p", *COLUMNS]
    assert len(lines) == 49
    clean = [line for line in lines if line["method.p"] == "0"]
    assert {(line["cell"], line["mean"]) for line in clean} == {("clean", repr(cells["clean"].mean))}
    assert float(lines[1]["sd"]) == cells["e0.01p0.1"].sd
    assert lines[0]["values"] == "0:0.88;1:0.883"


def test_csv_leaves_what_is_undefined_empty(make_row: Callable[..., Row]) -> None:
    points = [Point({"x": 'a "b", c'}, "c0"), Point({"y": 1}, "c1")]
    rows = [make_row("c0"), make_row("c0", 1, status="diverged")]
    cells = summarise(["c0", "c1"], rows, ACCURACY, [0, 1])
    first, second = csv.DictReader(io.StringIO(to_csv(points, [(ACCURACY, cells)])))
    assert (first["x"], first["sd"], first["n"], first["planned"]) == ('a "b", c', "", "1", "2")
    assert first["failures"] == "diverged:1"
    assert (second["x"], second["mean"], second["n"]) == ("", "", "0")


def test_terminal_grid_shows_all_places_and_what_is_missing(
    grid: Sweep, make_row: Callable[..., Row]
) -> None:
    points, rows = grid
    rows = [row for row in rows if row.key not in ("e9p1-0", "e9p1-1", "e9p0.9-1", "e7p1-0", "e7p1-1")]
    rows += [make_row("e9p1", seed, status="diverged") for seed in (0, 1)]
    cells = summarise((p.cell for p in points), rows, ACCURACY, [0, 1])
    (panel,) = panels(points, cells, "method.epsilon", "method.p")
    text = printed(panel_table(panel, ACCURACY))
    assert text.count("88.15") >= 7  # the mean of the clean cell stands in all of row p = 0
    assert "diverged" in text
    assert "not run" in text
    assert "1/2" in text
    assert "best in bold" in text


def test_without_reports_every_point_is_a_row(make_row: Callable[..., Row]) -> None:
    points = [Point({}, "c0")]
    cells = summarise(["c0"], [make_row()], ACCURACY, [0])
    assert "base trial" in printed(panel_table(points_panel(points, cells, ACCURACY), ACCURACY))
