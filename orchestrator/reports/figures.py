"""Figures for print: a heatmap of a panel, a curve with its band. PNG through matplotlib, no window."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.reports.layout import Line, Panel, band, spans, xs_of
from orchestrator.reports.summary import CellSummary, MetricLike
from orchestrator.reports.words import (
    checkpoint_text,
    in_line,
    lines_of,
    metric_title,
    scale,
    seeds_text,
    selection_note,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""Okabe and Ito (2008), told apart by colour-blind readers; the darkest first, on a light ground."""

DASHES = ("solid", "dashed", "dotted", "dashdot")
"""Told apart when there are more lines than colours, and in print."""

MARKERS = "osD^vP*X"
FAILED, ABSENT = "#f2d7d5", "#eeeeee"
DPI = 150
SEARCHED = 100
"""Ratio of largest to smallest from which a searched axis is logarithmic: a probability is not."""
PARTIAL = "!"
"""Stands in a cell that is not complete, where the cells are too many for numbers."""

MOST_WRITTEN = 16
"""Columns or rows up to which numbers are written into the cells of a heatmap."""


@dataclass(frozen=True)
class Heading:
    """What stands over every figure of a sweep."""

    sweep: str
    metric: MetricLike
    test_selection: bool = False

    def text(self, title: str, cells: Sequence[CellSummary]) -> str:
        """Sweep and panel; then metric, checkpoint and seeds; then the note on test selection."""
        lines = [
            self.sweep + (f": {title}" if title else ""),
            f"{self.metric.name}, {checkpoint_text(self.metric)}, {seeds_text(cells)}",
            selection_note(self.test_selection),
        ]
        return "\n".join(filter(None, lines))


def heatmap(panel: Panel, heading: Heading) -> Figure:
    """Colour is the mean; a cell shows mean, deviation, and n where it is not complete.

    A cell without a value is hatched and says why.
    """
    from matplotlib.figure import Figure

    metric = heading.metric
    columns, rows = len(panel.columns), len(panel.rows)
    wide, high = (1.05, 0.8) if max(columns, rows) <= MOST_WRITTEN else (0.3, 0.3)
    size = max(5.5, 2.2 + wide * columns), max(3.6, 1.9 + high * rows)
    figure = Figure(figsize=size, dpi=DPI)
    axes = figure.add_subplot()
    image = axes.imshow(_means(panel, metric), cmap=colours(metric), aspect="auto")
    for place, cell in panel.places.items():
        _fill_cell(axes, place, cell)
        if max(columns, rows) <= MOST_WRITTEN:
            _write_cell(axes, image, place, cell, metric)
        elif cell.n and not cell.complete:
            axes.text(place[1], place[0], PARTIAL, ha="center", va="center", color="#a40e26", fontsize=9)
    axes.set_xticks(range(columns), [_wrap(c, 16) for c in panel.columns], rotation=_rotation(panel.columns))
    axes.set_yticks(range(rows), [_wrap(row, 28) for row in panel.rows])
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    axes.set_title(heading.text(panel.title, list(panel.places.values())), fontsize=10, loc="left")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if any(cell.n for cell in panel.places.values()):
        figure.colorbar(image, ax=axes, label=metric_title(metric), pad=0.02)
    figure.set_layout_engine("tight")
    return figure


def scatter(panel: Panel, heading: Heading) -> Figure:
    """Points of a search: colour is the mean, a cross is a point without a value, a ring is the best."""
    from matplotlib.figure import Figure

    metric, by = heading.metric, scale(heading.metric)
    figure = Figure(figsize=(7.2, 5.2), dpi=DPI)
    axes = figure.add_subplot()
    filled = [(panel.xs[j], panel.ys[i], by * c.mean) for (i, j), c in panel.places.items() if c.n]
    empty = [(panel.xs[j], panel.ys[i]) for (i, j), cell in panel.places.items() if not cell.n]
    if filled:
        x, y, means = zip(*filled, strict=True)
        image = axes.scatter(x, y, c=means, cmap=colours(metric), s=70, edgecolor="#444444", linewidth=0.5)
        figure.colorbar(image, ax=axes, label=metric_title(metric), pad=0.02)
    if empty:
        axes.scatter(*zip(*empty, strict=True), marker="x", color="#a40e26", label="no value")
    part = [(panel.xs[j], panel.ys[i]) for (i, j), c in panel.places.items() if c.n and not c.complete]
    if part:
        axes.scatter(*zip(*part, strict=True), marker=f"${PARTIAL}$", color="#a40e26", label="incomplete")
    for (i, j), cell in panel.places.items():
        if cell is panel.best(metric):
            ring: dict[str, Any] = {"s": 190, "facecolor": "none", "edgecolor": "#D55E00", "linewidth": 2}
            axes.scatter([panel.xs[j]], [panel.ys[i]], label=f"best: {in_line(cell, metric)}", **ring)
    axes.set(xlabel=panel.x, ylabel=panel.y)
    axes.set_xscale("log" if spans(panel.xs, SEARCHED) else "linear")
    axes.set_yscale("log" if spans(panel.ys, SEARCHED) else "linear")
    axes.grid(alpha=0.3)
    axes.set_title(heading.text(panel.title, list(panel.places.values())), fontsize=10, loc="left")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False, fontsize=9)
    figure.set_layout_engine("tight")
    return figure


def curve(lines: Sequence[Line], along: str, heading: Heading) -> Figure:
    """A line with its band for each combination of the other labels; x is logarithmic over a decade."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.8), dpi=DPI)
    axes = figure.add_subplot()
    for i, line in enumerate(lines):
        _draw_line(axes, i, line, heading.metric)
    if spans(xs_of(lines), 10):
        axes.set_xscale("log")
    _x_ticks(axes, xs_of(lines))
    axes.set_xlabel(along)
    axes.set_ylabel(metric_title(heading.metric))
    cells = [cell for line in lines for _, cell in line.places]
    axes.set_title(heading.text("", cells), fontsize=10, loc="left")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9)
    figure.set_layout_engine("tight")
    return figure


def png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def line_name(line: Line, metric: MetricLike) -> str:
    """A line's name in the legend, with what its band is and what is missing of it."""
    kind = band(line).kind
    name = line.name or metric.name
    missing = [cell for _, cell in line.places if not cell.complete]
    notes: list[str] = [kind] if kind else []
    if missing:
        notes.append(f"{len(missing)} of {len(line.places)} places incomplete")
    return f"{name} ({'; '.join(notes)})" if notes else name


def _means(panel: Panel, metric: MetricLike) -> Any:
    import numpy as np

    means_RC = np.full((len(panel.rows), len(panel.columns)), np.nan)
    for (i, j), cell in panel.places.items():
        means_RC[i, j] = scale(metric) * cell.mean
    return np.ma.masked_invalid(means_RC)


def colours(metric: MetricLike) -> str:
    """Name of the colour map: bright is better."""
    return "cividis" if metric.mode == "max" else "cividis_r"


def _fill_cell(axes: Axes, place: tuple[int, int], cell: CellSummary) -> None:
    """The ground of a cell without a value: hatched where it failed."""
    from matplotlib.patches import Rectangle

    if cell.n:
        return
    i, j = place
    ground, edge = (FAILED, "#d9a9a4") if cell.failures else (ABSENT, "white")
    hatch = "////" if cell.failures else None
    axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=ground, edgecolor=edge, hatch=hatch, lw=0))


def _write_cell(
    axes: Axes, image: Any, place: tuple[int, int], cell: CellSummary, metric: MetricLike
) -> None:
    i, j = place
    lines = [_wrap(line, 12) for line in lines_of(cell, metric)]
    colour = "#444444"
    if cell.n:
        red, green, blue, _ = image.to_rgba(scale(metric) * cell.mean)
        colour = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
    box = {"facecolor": FAILED, "edgecolor": "none", "pad": 1.5} if cell.failures and not cell.n else None
    small = 9 if len(lines) < 3 else 8
    axes.text(j, i, "\n".join(lines), ha="center", va="center", color=colour, fontsize=small, bbox=box)


def _draw_line(axes: Axes, i: int, line: Line, metric: MetricLike) -> None:
    drawn = band(line)
    if not drawn.x:
        return
    by = scale(metric)
    style: dict[str, Any] = {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": DASHES[(i // len(COLOURS)) % len(DASHES)],
        "marker": MARKERS[i % len(MARKERS)],
    }
    axes.plot(drawn.x, [by * v for v in drawn.mean], label=line_name(line, metric), markersize=5, **style)
    if drawn.kind:
        low, high = [by * v for v in drawn.low], [by * v for v in drawn.high]
        axes.fill_between(drawn.x, low, high, color=style["color"], alpha=0.18, linewidth=0)


def _x_ticks(axes: Axes, xs: Sequence[float]) -> None:
    """The measured values themselves, where they are few enough to be read."""
    if not 0 < len(xs) <= 10:
        return
    axes.set_xticks(
        xs, [f"{x:,.0f}" if x >= 1000 else f"{x:g}" for x in xs], rotation=30 if len(xs) > 6 else 0
    )
    axes.set_xticks([], minor=True)


def _wrap(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width)) or text


def _rotation(labels: Sequence[str]) -> int:
    return 30 if any(len(label) > 12 for label in labels) and len(labels) > 3 else 0
