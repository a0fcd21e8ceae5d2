from __future__ import annotations

from collections.abc import Callable

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports.figures import Heading
from orchestrator.reports.interactive import curve, fragment, heatmap, scatter
from orchestrator.reports.layout import lines, panels
from orchestrator.reports.summary import Measure, summarise

ACCURACY = Measure("val.accuracy")
Sweep = tuple[list[Point], list[Row]]


def test_hover_tells_all_of_a_cell(make_row: Callable[..., Row]) -> None:
    points = [Point({"x": "<b>", "y": 0}, "cell-of-the-place")]
    rows = [make_row("cell-of-the-place", 0, 0.9), make_row("cell-of-the-place", 1, status="diverged")]
    cells = summarise((p.cell for p in points), rows, ACCURACY, [0, 1, 2])
    (panel,) = panels(points, cells, "x", "y")
    figure = heatmap(panel, Heading("s", ACCURACY))
    assert figure.data[1].hovertext[0][0].split("<br>") == [
        "x: &lt;b&gt;",
        "y: 0",
        "val.accuracy, %: 90.00 (1/3, diverged)",
        "n: 1 of 3",
        "seed 0: 90.00",
        "diverged: 1",
        "not run: 1",
        "cell cell-of-the-plac",
    ]
    assert [note.text for note in figure.layout.annotations] == ["90.00<br>1/3 diverged"]


def test_heatmap_fills_all_places(grid: Sweep) -> None:
    points, rows = grid
    cells = summarise((p.cell for p in points), rows, ACCURACY, [0, 1])
    (panel,) = panels(points, cells, "method.epsilon", "method.p")
    figure = heatmap(panel, Heading("s", ACCURACY))
    assert sum(value is not None for row in figure.data[1].z for value in row) == 49
    assert len(figure.layout.annotations) == 49


def test_a_failed_cell_is_on_the_ground_layer(make_row: Callable[..., Row]) -> None:
    points = [Point({"x": x, "y": 0}, f"c{x}") for x in (1, 2, 3)]
    rows = [make_row("c1"), make_row("c2", status="diverged")]
    cells = summarise((p.cell for p in points), rows, ACCURACY, [0])
    (panel,) = panels(points, cells, "x", "y")
    ground, means = heatmap(panel, Heading("s", ACCURACY)).data
    assert list(ground.z[0]) == [None, 1, 0]
    assert list(means.z[0]) == [90.0, None, None]


def test_curve_has_bands_and_a_logarithmic_axis(sizes: Sweep) -> None:
    points, rows = sizes
    cells = summarise((p.cell for p in points), rows, ACCURACY, [0, 1, 2])
    figure = curve(lines(points, cells, "data.train_size"), "data.train_size", Heading("s", ACCURACY))
    assert figure.layout.xaxis.type == "log"
    assert [trace.name for trace in figure.data if trace.mode == "lines+markers"] == [
        "standard (95 % t-interval)",
        "DropAttack-3 (smallest to largest; 1 of 3 places incomplete)",
    ]
    assert sum(trace.fill == "toself" for trace in figure.data) == 2


def test_equal_figures_give_equal_bytes_and_fetch_nothing(grid: Sweep) -> None:
    points, rows = grid
    cells = summarise((p.cell for p in points), rows, ACCURACY, [0, 1])
    (panel,) = panels(points, cells, "method.epsilon", "method.p")
    first, second = (fragment(heatmap(panel, Heading("s", ACCURACY)), "grid") for _ in range(2))
    assert first == second
    assert "src=" not in first


def test_points_of_a_search_lie_where_they_are_and_tell_what_they_are(make_row: Callable[..., Row]) -> None:
    points = [Point({"x": 10.0**i, "y": i / 7}, f"c{i}") for i in range(6)]
    cells = summarise((p.cell for p in points), [make_row("c1", 0, 0.9)], ACCURACY, [0])
    (panel,) = panels(points, cells, "x", "y")
    filled, empty = scatter(panel, Heading("s", ACCURACY)).data
    assert (filled.x, filled.y, filled.marker.color) == ((10.0,), (1 / 7,), (90.0,))
    assert "seed 0: 90.00" in filled.hovertext[0]
    assert len(empty.x) == 5
