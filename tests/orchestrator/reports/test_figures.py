from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports.figures import Heading, curve, heatmap, line_name, png, scatter
from orchestrator.reports.layout import Panel, lines, panels
from orchestrator.reports.summary import Measure, summarise

ACCURACY = Measure("val.accuracy")
Sweep = tuple[list[Point], list[Row]]


def texts(figure: object) -> list[str]:
    axes = figure.axes[0]  # type: ignore[attr-defined]
    return [text.get_text() for text in axes.texts]


def test_heatmap_writes_every_place_and_names_its_axes(grid: Sweep) -> None:
    points, rows = grid
    cells = summarise((p.cell for p in points), rows, ACCURACY, [0, 1])
    (panel,) = panels(points, cells, "method.epsilon", "method.p")
    figure = heatmap(panel, Heading("quick", ACCURACY, test_selection=True))
    axes, bar = figure.axes
    assert len(texts(figure)) == 49
    assert texts(figure)[0] == "88.15\n± 0.21"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("method.epsilon", "method.p")
    assert [label.get_text() for label in axes.get_xticklabels()] == list(panel.columns)
    assert bar.get_ylabel() == "val.accuracy, %"
    title = axes.get_title(loc="left")
    assert "quick" in title
    assert "2 seeds" in title
    assert "TEST set" in title


def test_a_failed_cell_is_hatched_and_says_why(make_row: Callable[..., Row]) -> None:
    points = [Point({"x": x, "y": 0}, f"c{x}") for x in (1, 2, 3)]
    rows = [make_row("c1"), make_row("c2", status="diverged")]
    cells = summarise((p.cell for p in points), rows, ACCURACY, [0])
    (panel,) = panels(points, cells, "x", "y")
    figure = heatmap(panel, Heading("s", ACCURACY))
    assert texts(figure) == ["90.00", "diverged", "not run"]
    failed, not_run = figure.axes[0].patches
    assert failed.get_hatch()
    assert not not_run.get_hatch()


def test_a_grid_without_a_value_is_drawn(grid: Sweep) -> None:
    points, _ = grid
    cells = summarise((p.cell for p in points), [], ACCURACY, [0, 1])
    (panel,) = panels(points, cells, "method.epsilon", "method.p")
    assert png(heatmap(panel, Heading("s", ACCURACY))).startswith(b"\x89PNG")


def test_curve_has_a_line_and_band_for_each_method(sizes: Sweep) -> None:
    points, rows = sizes
    cells = summarise((p.cell for p in points), rows, ACCURACY, [0, 1, 2])
    drawn = lines(points, cells, "data.train_size")
    figure = curve(drawn, "data.train_size", Heading("s", ACCURACY))
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert [line.get_label() for line in axes.lines] == [
        "standard (95 % t-interval)",
        "DropAttack-3 (smallest to largest; 1 of 3 places incomplete)",
    ]
    assert np.asarray(axes.lines[0].get_ydata()) == pytest.approx([53.5, 63.5, 76.0])
    assert len(axes.collections) == 2


def test_one_seed_has_no_band(make_row: Callable[..., Row]) -> None:
    points = [Point({"x": x}, f"c{x}") for x in (1, 2)]
    cells = summarise(["c1", "c2"], [make_row("c1"), make_row("c2")], ACCURACY, [0])
    drawn = lines(points, cells, "x")
    (axes,) = curve(drawn, "x", Heading("s", ACCURACY)).axes
    assert axes.get_xscale() == "linear"
    assert not axes.collections
    assert line_name(drawn[0], ACCURACY) == "val.accuracy"


def test_png_is_a_picture_and_the_same_twice(grid: Sweep) -> None:
    points, rows = grid
    cells = summarise((p.cell for p in points), rows, ACCURACY, [0, 1])
    (panel,) = panels(points, cells, "method.epsilon", "method.p")
    first, second = (png(heatmap(panel, Heading("s", ACCURACY))) for _ in range(2))
    assert first == second
    with Image.open(io.BytesIO(first)) as picture:
        assert min(picture.size) > 500


def search_panel(make_row: Callable[..., Row]) -> Panel:
    points = [Point({"x": 10.0**i, "y": i / 7}, f"c{i}") for i in range(6)]
    rows = [make_row(f"c{i}", 0, 0.8 + i / 100) for i in range(5)]
    (panel,) = panels(points, summarise((p.cell for p in points), rows, ACCURACY, [0]), "x", "y")
    return panel


def test_points_of_a_search_are_drawn_where_they_lie(make_row: Callable[..., Row]) -> None:
    figure = scatter(search_panel(make_row), Heading("s", ACCURACY))
    axes, _ = figure.axes
    filled, empty, best = axes.collections
    assert np.asarray(filled.get_offsets())[1] == pytest.approx([10, 1 / 7])
    assert np.asarray(filled.get_array()) == pytest.approx([80, 81, 82, 83, 84])
    assert np.asarray(empty.get_offsets())[0] == pytest.approx([1e5, 5 / 7])
    assert best.get_label() == "best: 84.00 (1)"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")


def test_a_large_grid_stays_a_picture_of_some_size(make_row: Callable[..., Row]) -> None:
    points = [Point({"x": x, "y": y}, f"{x} {y}") for x in range(40) for y in range(40)]
    (panel,) = panels(points, summarise((p.cell for p in points), [], ACCURACY, [0]), "x", "y")
    figure = heatmap(panel, Heading("s", ACCURACY))
    assert max(figure.get_size_inches()) < 16
    assert texts(figure) == []
