from __future__ import annotations

import pytest

from engine.errors import InputError
from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports.layout import axes_of, band, lines, panels, table, xs_of
from orchestrator.reports.summary import CellSummary, Measure, summarise

ACCURACY = Measure("val.accuracy")
Sweep = tuple[list[Point], list[Row]]


def cells_of(points: list[Point], rows: list[Row], seeds: int = 2) -> dict[str, CellSummary]:
    return summarise((point.cell for point in points), rows, ACCURACY, range(seeds))


def test_forty_three_cells_fill_forty_nine_places(grid: Sweep) -> None:
    points, rows = grid
    cells = cells_of(points, rows)
    (panel,) = panels(points, cells, "method.epsilon", "method.p")
    assert (len(cells), len(panel.places)) == (43, 49)
    assert panel.columns == ("0.01", "0.1", "1", "3", "5", "7", "9")
    assert {panel.places[0, j].cell for j in range(7)} == {"clean"}
    assert panel.places[6, 0].cell == "e0.01p1"  # row p = 1, column epsilon = 0.01


def test_values_stand_in_the_order_of_the_file() -> None:
    points = [Point({"x": x, "y": y}, f"{x}{y}") for y in ("b", "a") for x in (9, 1)]
    (panel,) = panels(points, cells_of(points, []), "x", "y")
    assert (panel.columns, panel.rows) == (("9", "1"), ("b", "a"))


def test_a_third_setting_makes_a_panel_for_each_value() -> None:
    points = [Point({"x": x, "y": y, "z": z}, f"{x}{y}{z}") for z in (1, 2) for x in (0, 1) for y in (0, 1)]
    found = panels(points, cells_of(points, []), "x", "y")
    assert [panel.title for panel in found] == ["z = 1", "z = 2"]
    assert all(len(panel.places) == 4 for panel in found)


def test_values_that_cannot_be_hashed_are_places_too() -> None:
    points = [Point({"x": {"input": e, "weight": 1}, "y": [e]}, f"c{e}") for e in (1, 2)]
    (panel,) = panels(points, cells_of(points, []), "x", "y")
    assert panel.columns == ("input: 1, weight: 1", "input: 2, weight: 1")
    assert set(panel.places) == {(0, 0), (1, 1)}


@pytest.mark.parametrize(("mode", "cell"), [("max", "b"), ("min", "a")])
def test_best_is_a_complete_cell(mode: str, cell: str, make_row: type) -> None:
    points = [Point({"x": c, "y": 0}, c) for c in "abc"]
    rows = [make_row(c, s, v) for c, v in (("a", 0.1), ("b", 0.2)) for s in (0, 1)]
    rows += [make_row("c", 0, 0.9)]  # better, but one of two
    (panel,) = panels(points, cells_of(points, rows), "x", "y")
    best = panel.best(Measure("val.accuracy", mode))  # type: ignore[arg-type]
    assert best is not None
    assert best.cell == cell


def test_an_unknown_setting_is_told_with_the_nearest(grid: Sweep) -> None:
    points, rows = grid
    with pytest.raises(InputError, match=r"did you mean 'method\.epsilon'"):
        panels(points, cells_of(points, rows), "method.epsilo", "method.p")


def test_lines_by_the_other_labels_with_x_rising(sizes: Sweep) -> None:
    points, rows = sizes
    found = lines(points, cells_of(points, rows, 3), "data.train_size")
    assert [line.name for line in found] == ["standard", "DropAttack-3"]
    assert [x for x, _ in found[0].places] == [100, 500, 1000]
    assert xs_of(found) == [100, 500, 1000]


def test_band_is_the_interval_only_where_all_places_have_three(sizes: Sweep) -> None:
    points, rows = sizes
    full, partial = (band(line) for line in lines(points, cells_of(points, rows, 3), "data.train_size"))
    assert full.kind == "95 % t-interval"
    assert full.high[0] - full.mean[0] == pytest.approx(4.302652729911275 * 0.01 / 3**0.5)
    assert partial.kind == "smallest to largest"
    assert (partial.low[0], partial.high[0]) == pytest.approx((0.525, 0.545))


def test_band_leaves_places_without_a_value_out(make_row: type) -> None:
    points = [Point({"x": x}, f"c{x}") for x in (1, 2)]
    (line,) = lines(points, cells_of(points, [make_row("c2")], 1), "x")
    drawn = band(line)
    assert (drawn.x, drawn.kind) == ((2.0,), "")


@pytest.mark.parametrize("value", ["many", True, None])
def test_a_curve_is_along_numbers(value: object) -> None:
    points = [Point({"x": value}, "c")]
    with pytest.raises(InputError, match="an axis of numbers"):
        lines(points, cells_of(points, []), "x")


def test_table_has_the_one_other_axis_as_columns(sizes: Sweep) -> None:
    points, rows = sizes
    panel = table(points, cells_of(points, rows, 3), "val.accuracy")
    assert (panel.x, panel.rows, panel.columns) == (
        "data.train_size",
        ("standard", "DropAttack-3"),
        ("1000", "100", "500"),
    )


def test_table_of_points_alone_has_the_metric_as_column() -> None:
    points = [Point({"point": name}, name) for name in ("a", "b")]
    panel = table(points, cells_of(points, []), "val.accuracy")
    assert (panel.columns, panel.rows) == (("val.accuracy",), ("a", "b"))


def test_axes_are_collected_in_order(grid: Sweep) -> None:
    assert axes_of(grid[0])["method.p"] == ["0", "0.1", "0.3", "0.5", "0.7", "0.9", "1"]


def test_points_of_a_search_are_scattered_and_a_grid_is_not(grid: Sweep) -> None:
    points, rows = grid
    (full,) = panels(points, cells_of(points, rows), "method.epsilon", "method.p")
    assert not full.scattered
    assert full.xs == (0.01, 0.1, 1, 3, 5, 7, 9)
    found = [Point({"x": 0.1 * i, "y": 1.0 / (i + 1)}, f"c{i}") for i in range(5)]
    (panel,) = panels(found, cells_of(found, []), "x", "y")
    assert panel.scattered
    assert panel.ys == (1, 1 / 2, 1 / 3, 1 / 4, 1 / 5)
    named = [Point({"x": "a" * i, "y": i}, f"c{i}") for i in range(1, 6)]
    assert not panels(named, cells_of(named, []), "x", "y")[0].scattered
