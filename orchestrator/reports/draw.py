"""Every wanted report laid out: what it is called, and its panels or lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.planning.cells import Point
from orchestrator.records.metrics import label_of, lower_is_better, measure_of
from orchestrator.records.row import Row
from orchestrator.reports import tables
from orchestrator.reports.drawing import Drawing
from orchestrator.reports.figures import Heading
from orchestrator.reports.importances import draw_importances
from orchestrator.reports.layout import ReportLike, lines, panels, table
from orchestrator.reports.pareto import draw_front
from orchestrator.reports.summary import (
    CellSummary,
    Measure,
    MetricLike,
    chosen_rows,
    evaluation_metrics,
    summarise,
)
from orchestrator.reports.tables import metrics_panel
from orchestrator.reports.words import checkpoint_text, metric_title, slug
from orchestrator.sweepfile.parts import Searched


@dataclass(frozen=True)
class Led:
    """What a sweep is led by, for the reports that come of it unasked.

    Attributes:
        objectives: the front is drawn of two or more. space: what was searched; empty for a grid.
    """

    objectives: Sequence[MetricLike]
    space: Mapping[str, Searched]


def draw(
    name: str,
    points: Sequence[Point],
    rows: Iterable[Row],
    metric: MetricLike,
    seeds: Sequence[int],
    reports: Sequence[ReportLike | Led],
    test_selection: bool = False,
) -> list[Drawing]:
    """Lay out every report that is wanted, a table of all points where none is, and all evaluations.

    Of a search, and of a sweep with several objectives, come the front and the importances.

    Raises:
        InputError: rows that must not stand in one table, or a report over a setting that no point has.
    """
    rows, drawings = list(rows), []
    wanted = [report for report in reports if not isinstance(report, Led)]
    for report in wanted:
        measure = _measure(report, metric, rows)
        cells = summarise((point.cell for point in points), rows, measure, seeds)
        drawings.append(_drawing(report, points, cells, Heading(name, measure, test_selection)))
    if not wanted:
        cells = summarise((point.cell for point in points), rows, metric, seeds)
        drawings.append(_all_points(points, cells, Heading(name, metric, test_selection)))
    for led in reports:
        if isinstance(led, Led):
            drawings += _led(led, name, points, rows, seeds, test_selection)
    drawings += _evaluations(name, points, rows, seeds, test_selection)
    return _named_apart(drawings)


def _led(
    led: Led, name: str, points: Sequence[Point], rows: Sequence[Row], seeds: Sequence[int], on_test: bool
) -> Iterator[Drawing]:
    numbers = [
        (metric, summarise((point.cell for point in points), rows, metric, seeds))
        for metric in led.objectives
    ]
    if len(numbers) > 1:
        yield draw_front(points, numbers, Heading(name, numbers[0][0], on_test))
    for metric, cells in numbers if led.space else ():
        yield draw_importances(points, cells, Heading(name, metric, on_test), led.space)


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
    taken: set[str] = set()
    result = []
    for drawing in drawings:
        wanted = [drawing.name, f"{drawing.name}_{slug(drawing.metric.name)}"]
        wanted += [f"{wanted[1]}_{i}" for i in range(2, len(drawings) + 2)]
        name = next(name for name in wanted if name not in taken)
        taken.add(name)
        result.append(replace(drawing, name=name))
    return result
