"""Several objectives against each other: the Pareto front of the complete cells."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import combinations
from typing import TYPE_CHECKING, Any

from orchestrator.planning.cells import Point
from orchestrator.reports import figures
from orchestrator.reports.drawing import Drawing
from orchestrator.reports.figures import COLOURS, DPI, Heading
from orchestrator.reports.layout import Panel
from orchestrator.reports.summary import MetricLike
from orchestrator.reports.tables import Numbers, metrics_panel
from orchestrator.reports.words import (
    in_line,
    label_text,
    labels_text,
    metric_title,
    scale,
    seeds_text,
    selection_note,
    slug,
)

if TYPE_CHECKING:
    from rich.console import RenderableType


def front(values: Sequence[Sequence[float]], maximise: Sequence[bool]) -> list[bool]:
    """Which vectors no other one dominates: is at least as good in all, and better in one.

    >>> front([(1, 5), (2, 4), (1, 4)], [True, True])
    [True, True, False]
    """
    import numpy as np

    if not values:
        return []
    losses_NM = np.asarray(values, dtype=float) * np.where(maximise, -1.0, 1.0)
    kept = []
    for one_M in losses_NM:
        no_worse_N = (losses_NM <= one_M).all(axis=1)
        kept.append(not (no_worse_N & (losses_NM < one_M).any(axis=1)).any())
    return kept


@dataclass(frozen=True)
class Front(Drawing):
    """The Pareto front of a sweep.

    Attributes:
        complete: points whose cells have all seeds in all objectives. best: those of them on the front.
    """

    complete: tuple[Point, ...] = ()
    best: tuple[Point, ...] = ()

    @property
    def notes(self) -> str:
        """How many points there are, on the front and left out."""
        left = len({point.cell for point in self.points}) - len(self.complete)
        said = f"{len(self.best)} of {len(self.complete)} complete cells are on the front: "
        said += "no other is at least as good in all objectives and better in one"
        return said + (f"; {left} incomplete ones are left out." if left else ".")

    def csv(self) -> str:
        """A line a complete cell: labels, whether it is on the front, and each objective over the seeds."""
        names = list(dict.fromkeys(name for point in self.complete for name in point.labels))
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        parts = [f"{metric.name} {what}" for metric, _ in self.numbers for what in ("mean", "sd", "n")]
        writer.writerow([*names, "front", *parts, "cell"])
        for point in self.complete:
            labels = [label_text(point.labels[name]) if name in point.labels else "" for name in names]
            cells = [cells[point.cell] for _, cells in self.numbers]
            numbers = [text for cell in cells for text in (repr(cell.mean), _text(cell.sd), str(cell.n))]
            writer.writerow([*labels, "yes" if point in self.best else "no", *numbers, point.cell])
        return buffer.getvalue()

    def pngs(self) -> dict[str, bytes]:
        """A figure for each pair of objectives."""
        return {f"{name}.png": figures.png(self._figure(*pair)) for name, pair in self._pairs().items()}

    def interactive(self) -> dict[str, Any]:
        """The same to point at."""
        return {name: self._interactive(*pair) for name, pair in self._pairs().items()}

    def tables(self) -> tuple[Panel, ...]:
        """The front: a row a point, a column an objective."""
        columns = [(metric_title(metric), cells) for metric, cells in self.numbers]
        metrics = tuple(metric for metric, _ in self.numbers)
        panel = metrics_panel(self.title, self.best, columns)
        return (replace(panel, metrics=metrics),)

    def terminal(self) -> list[RenderableType]:
        """The table, then how many points it stands for."""
        from rich.text import Text

        return [*super().terminal(), Text(self.notes)]

    def _pairs(self) -> dict[str, tuple[Numbers, Numbers]]:
        if not self.complete:
            return {}
        pairs = list(combinations(self.numbers, 2))
        if len(pairs) == 1:
            return {self.name: pairs[0]}
        return {f"{self.name}_{slug(x[0].name)}_{slug(y[0].name)}": (x, y) for x, y in pairs}

    def _figure(self, x: Numbers, y: Numbers) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.2, 5.2), dpi=DPI)
        axes = figure.add_subplot()
        for points, style in ((self._others(), _OTHERS), (self.best, _BEST)):
            if not points:
                continue
            (xs, x_sds), (ys, y_sds) = _values(points, x), _values(points, y)
            axes.errorbar(xs, ys, xerr=x_sds, yerr=y_sds, **style)
        if len(self.numbers) == 2:
            axes.plot(*_outline(self.best, x, y), color=COLOURS[0], linewidth=1, alpha=0.6)
        axes.set(xlabel=_axis(x[0]), ylabel=_axis(y[0]))
        axes.set_title(self._head(), fontsize=10, loc="left")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=9)
        figure.set_layout_engine("tight")
        return figure

    def _interactive(self, x: Numbers, y: Numbers) -> Any:
        import plotly.graph_objects as go

        from orchestrator.reports.interactive import lay_out

        figure = go.Figure()
        if len(self.numbers) == 2:
            xs, ys = _outline(self.best, x, y)
            line = {"color": COLOURS[0], "width": 1}
            figure.add_trace(
                go.Scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", showlegend=False)
            )
        for points, name, colour in (
            (self._others(), "dominated", "#999999"),
            (self.best, "front", COLOURS[0]),
        ):
            (xs, x_sds), (ys, y_sds) = _values(points, x), _values(points, y)
            figure.add_trace(
                go.Scatter(
                    x=xs,
                    y=ys,
                    error_x={"array": x_sds, "thickness": 1},
                    error_y={"array": y_sds, "thickness": 1},
                    mode="markers",
                    name=name,
                    marker={"color": colour, "size": 10},
                    hovertext=[self._about(point) for point in points],
                    hovertemplate="%{hovertext}<extra></extra>",
                )
            )
        figure.update_xaxes(title=escape(_axis(x[0])))
        figure.update_yaxes(title=escape(_axis(y[0])))
        figure.update_layout(legend={"orientation": "h", "y": -0.2, "yanchor": "top"})
        lay_out(figure, self._head(), 520)
        return figure

    def _others(self) -> tuple[Point, ...]:
        return tuple(point for point in self.complete if point not in self.best)

    def _about(self, point: Point) -> str:
        lines = [labels_text(point.labels) or "base trial"]
        lines += [
            f"{metric_title(metric)}: {in_line(cells[point.cell], metric)}" for metric, cells in self.numbers
        ]
        return "<br>".join(map(escape, [*lines, f"cell {point.cell[:16]}"]))

    def _head(self) -> str:
        seeds = seeds_text([self.cells[point.cell] for point in self.points])
        lines = [f"{self.heading.sweep}: {self.title}", f"{seeds}; bars: standard deviation over seeds"]
        return "\n".join([*lines, *filter(None, [selection_note(self.heading.test_selection)])])


_COMMON: dict[str, Any] = {"fmt": "o", "linestyle": "none", "elinewidth": 0.8, "capsize": 2}
_OTHERS = {**_COMMON, "color": "#999999", "markersize": 5, "label": "dominated"}
_BEST = {**_COMMON, "color": COLOURS[0], "markersize": 7, "label": "front"}


def draw_front(points: Sequence[Point], numbers: Sequence[Numbers], heading: Heading) -> Front:
    """The front of some points; ``numbers`` are the objectives with what they are in every cell."""
    distinct = {point.cell: point for point in reversed(points)}
    complete = [
        point
        for point in reversed(distinct.values())
        if all(cells[point.cell].complete for _, cells in numbers)
    ]
    vectors = [[cells[point.cell].mean for _, cells in numbers] for point in complete]
    kept = front(vectors, [metric.mode == "max" for metric, _ in numbers])
    best = [point for point, inside in zip(complete, kept, strict=True) if inside]
    first, cells = numbers[0]
    sign = -1 if first.mode == "max" else 1
    best.sort(key=lambda point: sign * cells[point.cell].mean)
    title = "Pareto front of " + " against ".join(metric.name for metric, _ in numbers)
    return Front(
        "pareto", title, "front", heading, points, cells, (), numbers=tuple(numbers),
        complete=tuple(complete), best=tuple(best),
    )  # fmt: skip


def _values(points: Sequence[Point], of: Numbers) -> tuple[list[float], list[float]]:
    """Means and deviations as they are shown; a single seed has no deviation."""
    metric, cells = of
    found = [cells[point.cell] for point in points]
    by = scale(metric)
    return [by * cell.mean for cell in found], [by * cell.sd if cell.n > 1 else 0.0 for cell in found]


def _outline(points: Sequence[Point], x: Numbers, y: Numbers) -> tuple[list[float], list[float]]:
    """The front from left to right."""
    pairs = sorted(zip(_values(points, x)[0], _values(points, y)[0], strict=True))
    return [one for one, _ in pairs], [other for _, other in pairs]


def _axis(metric: MetricLike) -> str:
    return f"{metric_title(metric)} ({'higher' if metric.mode == 'max' else 'lower'} is better)"


def _text(value: float) -> str:
    return "" if math.isnan(value) else repr(value)
