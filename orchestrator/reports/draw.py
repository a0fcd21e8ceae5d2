"""One wanted report laid out: what it is called, its panels or lines, and every form it is drawn in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.planning.cells import Point
from orchestrator.records.metrics import label_of, lower_is_better, measure_of
from orchestrator.records.row import Row
from orchestrator.reports import figures, interactive, tables
from orchestrator.reports.figures import Heading
from orchestrator.reports.layout import Line, Panel, ReportLike, lines, panels, table
from orchestrator.reports.summary import (
    CellSummary,
    Measure,
    MetricLike,
    chosen_rows,
    evaluation_metrics,
    summarise,
)
from orchestrator.reports.tables import Numbers, metrics_panel
from orchestrator.reports.words import checkpoint_text, metric_title, slug


@dataclass(frozen=True)
class Drawing:
    """One report of a sweep.

    Attributes:
        name: its files begin with it. title: for people.
        kind: which of the three it is. heading: what stands over its figures.
        points, cells: what it is drawn from.
        panels: of a grid or table; of a curve its numbers, a row for each x.
        lines: of a curve, else empty. along: the setting along a curve, else empty.
        numbers: of a table of several metrics, each with its cells; else empty.
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
    numbers: tuple[Numbers, ...] = ()

    @property
    def metric(self) -> MetricLike:
        """What its numbers are; of several metrics the first, whose form all have."""
        return self.heading.metric

    @property
    def parts(self) -> tuple[Numbers, ...]:
        """Its metrics, mostly one, each with what it is in every cell."""
        return self.numbers or ((self.metric, self.cells),)

    def csv(self) -> str:
        """All places in long form."""
        return tables.to_csv(self.points, self.parts)

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
    """Lay out every report that is wanted, a table of all points where none is, and all evaluations.

    Raises:
        InputError: rows that must not stand in one table, or a report over a setting that no point has.
    """
    rows, drawings = list(rows), []
    for report in reports:
        measure = _measure(report, metric, rows)
        cells = summarise((point.cell for point in points), rows, measure, seeds)
        drawings.append(_drawing(report, points, cells, Heading(name, measure, test_selection)))
    if not reports:
        cells = summarise((point.cell for point in points), rows, metric, seeds)
        drawings.append(_all_points(points, cells, Heading(name, metric, test_selection)))
    drawings += _evaluations(name, points, rows, seeds, test_selection)
    return _named_apart(drawings)


def _evaluations(
    name: str, points: Sequence[Point], rows: Sequence[Row], seeds: Sequence[int], test_selection: bool
) -> Iterator[Drawing]:
    """A table of every measure, such as accuracy, with a column for each evaluation.

    A measure that an evaluation took at several settings (``accuracy@0.1``) is a table of its own, with a
    column for each setting.
    """
    inside = chosen_rows([point.cell for point in points], rows, seeds)
    groups: dict[tuple[str, str], list[tuple[str, Measure]]] = {}
    for measure in evaluation_metrics(inside):
        label, what = label_of(measure.name), measure_of(measure.name)
        setting = measure.name.partition("@")[2]
        group, column = ((f"{label}.{what}", "@"), setting) if setting else ((what, ""), label)
        groups.setdefault(group, []).append((column, measure))
    for (what, at), columns in groups.items():
        numbers = tuple(
            (measure, summarise((point.cell for point in points), rows, measure, seeds))
            for _, measure in columns
        )
        one = len({measure.checkpoint for _, measure in columns}) == 1
        titles = [column if one else f"{column} ({measure.checkpoint})" for column, measure in columns]
        named = [(title, cells) for title, (_, cells) in zip(titles, numbers, strict=True)]
        of = Measure(what, columns[0][1].mode, columns[0][1].checkpoint)
        title = f"{metric_title(of)}, " + ("by setting" if at else "by evaluation")
        title += f", {checkpoint_text(of)}" if one else ""
        panel = metrics_panel(title, points, named)
        heading = Heading(name, of, test_selection)
        yield Drawing(
            f"evaluations_{slug(what)}", title, "table", heading, points, numbers[0][1], (panel,),
            numbers=numbers,
        )  # fmt: skip


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


def _measure(report: ReportLike, metric: MetricLike, rows: Iterable[Row]) -> MetricLike:
    """The report's own metric; a loss is better when it is lower.

    It is measured at the sweep's checkpoint, one of an evaluation at the evaluation's.
    """
    if report.metric is None or report.metric == metric.name:
        return metric
    name = str(report.metric)
    known = {one.name: one for one in evaluation_metrics(rows)} if label_of(name) else {}
    return known.get(name) or Measure(name, "min" if lower_is_better(name) else "max", metric.checkpoint)


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
