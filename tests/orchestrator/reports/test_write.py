from __future__ import annotations

import io
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from engine.errors import InputError
from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports import terminal, write_reports
from orchestrator.reports.draw import draw
from orchestrator.reports.summary import Measure

ACCURACY = Measure("val.accuracy")
Sweep = tuple[list[Point], list[Row]]
EPSILON_P = ("method.epsilon", "method.p")


class Page(HTMLParser):
    """Text outside scripts, and every address that a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.hidden = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.hidden = tag in ("script", "style")
        wanted = [value for name, value in attrs if name in ("src", "href") and value]
        self.fetched += [value for value in wanted if not value.startswith(("data:", "#"))]

    def handle_endtag(self, tag: str) -> None:
        self.hidden = False

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def test_all_files_of_a_grid_are_written_and_equal_twice(tmp_path: Path, grid: Sweep, want: type) -> None:
    points, rows = grid
    reports = [
        want(grid=EPSILON_P),
        want(grid=EPSILON_P, metric="test.loss"),
        want(table=None, curve="method.p"),
    ]
    written = [
        write_reports(
            tmp_path / name, "quick", "", points, rows, ACCURACY, [0, 1], reports, "name: quick", False
        )
        for name in ("a", "b")
    ]
    assert [path.name for path in written[0]] == [
        "report.html",
        "grid_method.epsilon_method.p.csv",
        "grid_method.epsilon_method.p.png",
        "grid_method.epsilon_method.p.html",
        "grid_method.epsilon_method.p_test.loss.csv",
        "grid_method.epsilon_method.p_test.loss.png",
        "grid_method.epsilon_method.p_test.loss.html",
        "curve_method.p.csv",
        "curve_method.p.png",
        "curve_method.p.html",
    ]
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


def test_the_page_tells_everything_and_fetches_nothing(
    tmp_path: Path, sizes: Sweep, make_row: Callable[..., Row], want: type
) -> None:
    points, rows = sizes
    error = "Traceback (most recent call last):\n  File\nValueError: <script>alert(1)</script>"
    rows = [*rows, make_row("DropAttack-3500", 2, status="failed", failure="error", error=error)]
    reports = [want(curve="data.train_size"), want(table="points")]
    (path, *_) = write_reports(
        tmp_path, "s <i>", "what & why", points, rows, ACCURACY, [0, 1, 2], reports, "a: <b>", True
    )
    page = Page(path.read_text())
    assert page.fetched == []
    assert page.tags.count("i") == page.tags.count("b") - 3 == 0  # three counts; what users wrote is escaped
    for part in (
        "s <i>",
        "what & why",
        "TEST set",
        "18 planned",
        "17 completed",
        "1 failed",
        "ValueError: <script>alert(1)</script>",
        "DropAttack-3, data.train_size = 500",
        "a: <b>",
        "0123456789abcdef",
        "engine contract 1",
        "2.15.0",
    ):
        assert part in page.text, part


def test_a_search_without_reports_gets_a_table_of_all_points(
    tmp_path: Path, make_row: Callable[..., Row]
) -> None:
    points = [Point({"method.p": 0.25}, "c0")]
    files = write_reports(tmp_path, "s", "", points, [make_row()], ACCURACY, [0], [], "", False)
    assert [path.name for path in files] == ["report.html", "table_all.csv"]
    page = Page(files[0].read_text())
    assert "method.p = 0.25" in page.text
    assert "script" not in page.tags  # no figure, so no plotly


def test_several_panels_are_several_figures(make_row: Callable[..., Row], want: type) -> None:
    points = [Point({"x": x, "y": 0, "z": z}, f"{x}{z}") for x in (0, 1) for z in (1, 2)]
    (drawing,) = draw("s", points, [make_row("01")], ACCURACY, [0], [want(grid=("x", "y"))])
    assert list(drawing.interactive()) == ["grid_x_y-1", "grid_x_y-2"]


def test_terminal_prints_progress_note_and_tables(grid: Sweep, want: type) -> None:
    points, rows = grid
    console = Console(width=120, record=True, file=io.StringIO())
    for shown in terminal("quick", points, rows[:-1], ACCURACY, [0, 1], [want(grid=EPSILON_P)], True):
        console.print(shown)
    text = console.export_text()
    assert "quick: 86 trials planned, 85 completed, 1 not run" in text
    assert "TEST set" in text
    assert "1/2" in text


def test_nothing_is_written_when_rows_do_not_belong_together(
    tmp_path: Path, make_row: Callable[..., Row]
) -> None:
    points = [Point({"x": 1}, "a"), Point({"x": 2}, "b")]
    rows = [make_row("a"), make_row("b", contract=2)]
    with pytest.raises(InputError, match="contract"):
        write_reports(tmp_path / "new", "s", "", points, rows, ACCURACY, [0], [], "", False)
    assert not (tmp_path / "new").exists()


def test_a_search_with_a_grid_report_is_scattered(make_row: Callable[..., Row], want: type) -> None:
    points = [Point({"x": 0.1 * i, "y": 0.2 * i}, f"c{i}") for i in range(5)]
    (drawing,) = draw("s", points, [make_row("c3")], ACCURACY, [0], [want(grid=("x", "y"))])
    (figure,) = drawing.interactive().values()
    assert figure.data[0].type == "scatter"
    (table,) = drawing.tables()
    assert table.rows[3] == "x = 0.3, y = 0.6"
    assert list(drawing.pngs()) == ["grid_x_y.png"]
