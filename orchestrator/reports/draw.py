"""One wanted report laid out: what it is called, its panels or lines, and every form it is drawn in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports import figures, interactive, tables
from orchestrator.reports.figures import Heading
from orchestrator.reports.layout import Line, Panel, ReportLike, lines, panels, table
from orchestrator.reports.summary import CellSummary, Measure, MetricLike, summarise
from orchestrator.reports.words import slug


@dataclass(frozen=True)
class Drawing:
    """One report of a sweep.

    Attributes:
        name: its files begin with it. title: for people.
        kind: which of the three it is. heading: what stands over its figures.
        points, cells: what it is drawn from.
        panels: of a grid or table; of a curve its numbers, a row for each x.
        lines: of a curve, else empty. along: the setting along a curve, else empty.
    """

    name: str
    title: str
    kind: Literal["grid", "curve", "table"]
    heading: Heading
    points: Sequence[Point]
    cells: Mapping[str, CellSummary]
    panels: tuple[Panel, ...]
    lines: tuple[Line, ...] = ()
    along: str = ""

    @property
    def metric(self) -> MetricLike:
        """What its numbers are."""
        return self.heading.metric

    def csv(self) -> str:
        """All places in long form."""
        return tables.to_csv(self.points, self.cells, self.metric)

    def pngs(self) -> dict[str, bytes]:
        """Figures by file name: one a panel of a grid, one for a curve, none for a table."""
        if self.kind == "table":
            return {}
        if self.kind == "curve":
            return {f"{self.name}.png": figures.png(figures.curve(self.lines, self.along, self.heading))}
        drawn = [
            figures.scatter(panel, self.heading) if panel.scattered else figures.heatmap(panel, self.heading)
            for panel in self.panels
        ]
        return {f"{name}.png": figures.png(one) for name, one in zip(self._panel_names(), drawn, strict=True)}

    def interactive(self) -> dict[str, Any]:
        """Plotly figures by name."""
        if self.kind == "table":
            return {}
        if self.kind == "curve":
            return {self.name: interactive.curve(self.lines, self.along, self.heading)}
        drawn = [
            interactive.scatter(panel, self.heading)
            if panel.scattered
            else interactive.heatmap(panel, self.heading)
            for panel in self.panels
        ]
        return dict(zip(self._panel_names(), drawn, strict=True))

    def tables(self) -> tuple[Panel, ...]:
        """Its numbers as tables: the panels, but a row for each point where they are scattered."""
        if any(panel.scattered for panel in self.panels):
            return (tables.points_panel(self.points, self.cells, self.metric),)
        return self.panels

    def _panel_names(self) -> list[str]:
        if len(self.panels) == 1:
            return [self.name]
        return [f"{self.name}-{i}" for i, _ in enumerate(self.panels, 1)]


def draw(
    name: str,
    points: Sequence[Point],
    rows: Iterable[Row],
    metric: MetricLike,
    seeds: Sequence[int],
    reports: Sequence[ReportLike],
    test_selection: bool = False,
) -> list[Drawing]:
    """Lay out every report that is wanted; a table of all points where none is.

    Raises:
        InputError: rows that must not stand in one table, or a report over a setting that no point has.
    """
    rows, drawings = list(rows), []
    for report in reports:
        measure = _measure(report, metric)
        cells = summarise((point.cell for point in points), rows, measure, seeds)
        drawings.append(_drawing(report, points, cells, Heading(name, measure, test_selection)))
    if not reports:
        cells = summarise((point.cell for point in points), rows, metric, seeds)
        drawings.append(_all_points(points, cells, Heading(name, metric, test_selection)))
    return _named_apart(drawings)


def _drawing(
    report: ReportLike, points: Sequence[Point], cells: Mapping[str, CellSummary], heading: Heading
) -> Drawing:
    if report.grid is not None:
        x, y = report.grid
        name, title = f"grid_{slug(x)}_{slug(y)}", f"{heading.metric.name} over {x} and {y}"
        return Drawing(name, title, "grid", heading, points, cells, tuple(panels(points, cells, x, y)))
    if report.curve is not None:
        drawn = tuple(lines(points, cells, report.curve))
        name, title = f"curve_{slug(report.curve)}", f"{heading.metric.name} along {report.curve}"
        panel = tables.curve_panel(drawn, report.curve, heading.metric)
        return Drawing(name, title, "curve", heading, points, cells, (panel,), drawn, report.curve)
    panel = table(points, cells, heading.metric.name)
    title = f"{heading.metric.name} of the named points"
    return Drawing("table_points", title, "table", heading, points, cells, (panel,))


def _all_points(points: Sequence[Point], cells: Mapping[str, CellSummary], heading: Heading) -> Drawing:
    panel = tables.points_panel(points, cells, heading.metric)
    title = f"{heading.metric.name} of every point"
    return Drawing("table_all", title, "table", heading, points, cells, (panel,))


def _measure(report: ReportLike, metric: MetricLike) -> MetricLike:
    """The report's own metric, at the sweep's checkpoint; a loss is better when it is lower."""
    if report.metric is None or report.metric == metric.name:
        return metric
    name = str(report.metric)
    return Measure(name, "min" if name.endswith(".loss") else "max", metric.checkpoint)


def _named_apart(drawings: list[Drawing]) -> list[Drawing]:
    """Reports of one kind over other metrics get the metric into their name, then a number."""
    from dataclasses import replace

    taken: set[str] = set()
    result = []
    for drawing in drawings:
        wanted = [drawing.name, f"{drawing.name}_{slug(drawing.metric.name)}"]
        wanted += [f"{wanted[1]}_{i}" for i in range(2, len(drawings) + 2)]
        name = next(name for name in wanted if name not in taken)
        taken.add(name)
        result.append(replace(drawing, name=name))
    return result
