from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from orchestrator.cells import Point
from orchestrator.report.figures import Heading, curve, heatmap, line_name, png
from orchestrator.report.layout import lines, panels
from orchestrator.row import Row
from orchestrator.summary import Measure, summarise

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
