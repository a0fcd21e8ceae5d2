"""Numbers as text: CSV in long form, and tables for the terminal."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.planning.cells import Point
from orchestrator.reports.layout import Line, Panel
from orchestrator.reports.summary import CellSummary, MetricLike
from orchestrator.reports.words import (
    NOT_RUN,
    checkpoint_text,
    label_text,
    labels_text,
    lines_of,
    metric_title,
)

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

COLUMNS = (
    "metric", "checkpoint", "mean", "sd", "n", "planned", "min", "max",
    "ci95_low", "ci95_high", "failures", "values", "cell",
)  # fmt: skip
"""Columns of the CSV after the labels. Numbers are as measured: an accuracy is a fraction."""


Numbers = tuple[MetricLike, Mapping[str, CellSummary]]
"""A metric, and what it is in each cell."""


def to_csv(points: Sequence[Point], numbers: Sequence[Numbers]) -> str:
    """One line a place and metric: its labels, then :data:`COLUMNS`. An undefined number is left empty."""
    names = list(dict.fromkeys(name for point in points for name in point.labels))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*names, *COLUMNS])
    for metric, cells in numbers:
        for point in points:
            labels = [label_text(point.labels[name]) if name in point.labels else "" for name in names]
            writer.writerow([*labels, *_cell_columns(cells[point.cell], metric)])
    return buffer.getvalue()


MOST_LABEL = 20
"""Characters of a row's name that stay on one line, however many columns there are."""


def panel_table(panel: Panel, metric: MetricLike) -> Table:
    """A panel for the terminal: mean, deviation under it, then what is missing.

    The best complete mean is bold.
    """
    from rich import box
    from rich.table import Table

    bests = panel.bests(metric)
    title = panel.title if panel.apart else _title(panel.title, metric)
    shown = Table(title=title, caption=_caption(panel, metric), box=box.SIMPLE_HEAD)
    widest = max((len(row) for row in panel.rows), default=0)
    shown.add_column(_corner(panel), style="bold", overflow="fold", no_wrap=widest <= MOST_LABEL)
    for column in panel.columns:
        shown.add_column(column, justify="right", no_wrap=True)
    for i, row in enumerate(panel.rows):
        cells = [panel.places.get((i, j)) for j in range(len(panel.columns))]
        shown.add_row(
            row,
            *(
                _styled(cell, panel.of(j, metric), any(cell is one for one in bests))
                for j, cell in enumerate(cells)
            ),
        )
    return shown


def curve_panel(lines: Sequence[Line], along: str, metric: MetricLike) -> Panel:
    """A curve as a table of places: a row for each x, a column for each line."""
    xs = sorted({x for line in lines for x, _ in line.places})
    places = {(xs.index(x), j): cell for j, line in enumerate(lines) for x, cell in line.places}
    names = tuple(line.name or metric.name for line in lines)
    return Panel("", "", along, names, tuple(f"{x:g}" if x % 1 else f"{x:.0f}" for x in xs), places)


def points_panel(points: Sequence[Point], cells: Mapping[str, CellSummary], metric: MetricLike) -> Panel:
    """Every point as a row, by its labels; what is shown where no report is asked for."""
    return metrics_panel("", points, [(metric.name, cells)], apart=False)


def metrics_panel(
    title: str,
    points: Sequence[Point],
    columns: Sequence[tuple[str, Mapping[str, CellSummary]]],
    apart: bool = True,
) -> Panel:
    """Every point as a row, and a column, given by its name, for each of several metrics."""
    rows = list(dict.fromkeys(labels_text(point.labels) or "base trial" for point in points))
    places = {
        (rows.index(labels_text(point.labels) or "base trial"), j): cells[point.cell]
        for j, (_, cells) in enumerate(columns)
        for point in points
    }
    names = tuple(name for name, _ in columns)
    return Panel(title, "", "point", names, tuple(rows), places, apart=apart)


def _cell_columns(cell: CellSummary, metric: MetricLike) -> list[str]:
    values = ";".join(f"{seed}:{value!r}" for seed, value in cell.values.items())
    failures = ";".join(f"{kind}:{count}" for kind, count in sorted(cell.failures.items()))
    numbers = [*cell.extremes, *cell.interval]
    return [
        metric.name,
        metric.checkpoint,
        _number(cell.mean),
        _number(cell.sd),
        str(cell.n),
        str(cell.planned),
        *map(_number, numbers),
        failures,
        values,
        cell.cell,
    ]


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _styled(cell: CellSummary | None, metric: MetricLike, best: bool) -> Text:
    from rich.text import Text

    lines = lines_of(cell, metric)
    if cell is None or lines == [NOT_RUN]:
        return Text("\n".join(lines), style="dim")
    text = Text(lines[0], style="bold green" if best else "red" if not cell.n else "")
    for line in lines[1:]:
        text.append(
            "\n" + line.replace("± ", "±"),
            style="dim" if line.startswith("±") else "red" if cell.failures else "yellow",
        )
    return text


def _title(title: str, metric: MetricLike) -> str:
    return f"{metric_title(metric)}, {checkpoint_text(metric)}" + (f"\n{title}" if title else "")


def _caption(panel: Panel, metric: MetricLike) -> str | None:
    cells = panel.places.values()
    notes = ["mean ± standard deviation over seeds"] if any(cell.n > 1 for cell in cells) else []
    if panel.bests(metric):
        notes.append("best of each column in bold" if panel.apart else "best in bold")
    if not all(cell.complete for cell in cells):
        notes.append("1/2: one value of two planned seeds")
    return "; ".join(notes) or None


def _corner(panel: Panel) -> str:
    """Names of rows and columns, without the blocks that they stand in where they differ without them."""
    if not panel.x:
        return panel.y
    y, x = (name.rpartition(".")[2] for name in (panel.y, panel.x))
    return f"{panel.y} \\ {panel.x}" if x == y else f"{y} \\ {x}"
