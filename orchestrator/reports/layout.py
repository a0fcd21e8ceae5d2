"""From points and summaries to what is drawn: panels of a grid, lines of a curve, rows of a table.

A panel is a table of places; several places may share one cell, so that all 49 places of a 7 x 7 grid
are filled although its p = 0 row is one cell. Values stand in the order of the sweep file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from engine.errors import InputError, did_you_mean
from orchestrator.planning.cells import Point
from orchestrator.records.metrics import judged
from orchestrator.reports.summary import CellSummary, MetricLike
from orchestrator.reports.words import label_text, labels_text


class ReportLike(Protocol):
    """Which report is wanted; a :class:`orchestrator.sweepfile.parts.Report`, or anything shaped like it."""

    @property
    def grid(self) -> tuple[str, str] | None:
        """Two settings: x (columns), then y (rows)."""
        ...

    @property
    def curve(self) -> str | None:
        """The setting along the curve."""
        ...

    @property
    def table(self) -> Literal["points"] | None:
        """Named points as rows."""
        ...

    @property
    def metric(self) -> Any:
        """Name of a metric in place of the sweep's, or None."""
        ...


@dataclass(frozen=True)
class Panel:
    """A table of places.

    Attributes:
        title: the labels that all its places share; empty when there are none beside x and y.
        x, y: what columns and rows are (a setting's name).
        columns, rows: their values, as text, in the order of the file.
        places: cell by (row, column), counted from 0; a place that is no point of the sweep is absent.
        xs, ys: values of columns and rows where all are numbers, else empty.
        apart: whether each column is a metric of its own, with a best cell of its own; the title then
            says what they measure.
        metrics: what each column measures, where they differ in more than their names; else empty.
    """

    title: str
    x: str
    y: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    places: Mapping[tuple[int, int], CellSummary]
    xs: tuple[float, ...] = ()
    ys: tuple[float, ...] = ()
    apart: bool = False
    metrics: tuple[MetricLike, ...] = ()

    def of(self, column: int, metric: MetricLike) -> MetricLike:
        """What a column measures; ``metric`` where all measure the same."""
        return self.metrics[column] if self.metrics else metric

    @property
    def scattered(self) -> bool:
        """Points of a search rather than a grid: numbers, and most places are no point."""
        return bool(self.xs and self.ys) and 2 * len(self.places) < len(self.rows) * len(self.columns)

    def best(self, metric: MetricLike) -> CellSummary | None:
        """The complete cell with the best mean; None when no cell is complete."""
        return _best(self.places.values(), metric)

    def bests(self, metric: MetricLike) -> list[CellSummary]:
        """The best cell, or that of each column where columns are metrics of their own and one is better."""
        if not self.apart:
            found = [self.best(metric)]
        else:
            columns = [[c for (_, j), c in self.places.items() if j == k] for k in range(len(self.columns))]
            kinds = [self.of(k, metric) for k in range(len(columns))]
            found = [_best(c, one) for c, one in zip(columns, kinds, strict=True) if judged(one.name)]
        return [cell for cell in found if cell is not None]


@dataclass(frozen=True)
class Line:
    """One line of a curve: its name, and cells by x in rising order."""

    name: str
    places: tuple[tuple[float, CellSummary], ...]


@dataclass(frozen=True)
class Band:
    """Mean and band of a line where it has values.

    ``low`` and ``high`` are the 95 % t-interval when every place has at least three values, else the
    smallest and the largest value: ``kind`` says which.
    """

    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    kind: Literal["95 % t-interval", "smallest to largest", ""]


def panels(points: Sequence[Point], cells: Mapping[str, CellSummary], x: str, y: str) -> list[Panel]:
    """A panel over two settings for each combination of the other labels.

    Raises:
        InputError: a setting that no point has.
    """
    _known(points, (x, y))
    inside = [point for point in points if x in point.labels and y in point.labels]
    return [
        _panel(labels_text(rest), x, y, [(p.labels[x], p.labels[y], cells[p.cell]) for p in group])
        for rest, group in _by_other_labels(inside, (x, y))
    ]


def table(points: Sequence[Point], cells: Mapping[str, CellSummary], metric_name: str) -> Panel:
    """Named points as rows; a column for each combination of the other labels."""
    _known(points, ("point",))
    inside = [point for point in points if "point" in point.labels]
    others = dict.fromkeys(name for p in inside for name in p.labels if name != "point")
    x = next(iter(others)) if len(others) == 1 else ""
    triples = [
        (p.labels.get(x) if x else labels_text(_without(p.labels, ("point",))) or metric_name,
         p.labels["point"], cells[p.cell])
        for p in inside
    ]  # fmt: skip
    return _panel("", x, "point", triples)


def lines(points: Sequence[Point], cells: Mapping[str, CellSummary], along: str) -> list[Line]:
    """A line along one setting for each combination of the other labels.

    Raises:
        InputError: a setting that no point has, or that is no number.
    """
    _known(points, (along,))
    inside = [point for point in points if along in point.labels]
    return [
        Line(labels_text(rest), tuple(sorted(((_x(p, along), cells[p.cell]) for p in group), key=_first)))
        for rest, group in _by_other_labels(inside, (along,))
    ]


def band(line: Line) -> Band:
    """Mean and band of a line; places without a value are left out."""
    filled = [(x, cell) for x, cell in line.places if cell.n]
    interval = bool(filled) and all(cell.n >= 3 for _, cell in filled)
    bounds = [cell.interval if interval else cell.extremes for _, cell in filled]
    several = any(cell.n > 1 for _, cell in filled)
    return Band(
        tuple(x for x, _ in filled),
        tuple(cell.mean for _, cell in filled),
        tuple(low for low, _ in bounds),
        tuple(high for _, high in bounds),
        "95 % t-interval" if interval else "smallest to largest" if several else "",
    )


def spans(values: Iterable[float], factor: float) -> bool:
    """Whether an axis wants a logarithmic scale: all positive, the largest ``factor`` times the smallest.

    >>> spans([100, 1000], 10), spans([0, 1000], 10), spans([], 10)
    (True, False, False)
    """
    xs = list(values)
    return bool(xs) and min(xs) > 0 and max(xs) >= factor * min(xs)


def xs_of(drawn: Iterable[Line]) -> list[float]:
    """Distinct x of some lines, rising."""
    return sorted({x for line in drawn for x, _ in line.places})


def axes_of(points: Iterable[Point]) -> dict[str, list[str]]:
    """Every label's distinct values as text, in the order of the file."""
    found: dict[str, dict[str, None]] = {}
    for point in points:
        for name, value in point.labels.items():
            found.setdefault(name, {})[label_text(value)] = None
    return {name: list(values) for name, values in found.items()}


def _best(cells: Iterable[CellSummary], metric: MetricLike) -> CellSummary | None:
    sign = 1 if metric.mode == "max" else -1
    return max((cell for cell in cells if cell.complete), key=lambda cell: sign * cell.mean, default=None)


def _panel(title: str, x: str, y: str, triples: Sequence[tuple[Any, Any, CellSummary]]) -> Panel:
    columns = list(dict.fromkeys(label_text(column) for column, _, _ in triples))
    rows = list(dict.fromkeys(label_text(row) for _, row, _ in triples))
    places = {(rows.index(label_text(r)), columns.index(label_text(c))): cell for c, r, cell in triples}
    xs, ys = _numbers(column for column, _, _ in triples), _numbers(row for _, row, _ in triples)
    return Panel(title, x, y, tuple(columns), tuple(rows), places, xs, ys)


def _numbers(values: Iterable[Any]) -> tuple[float, ...]:
    """Distinct values, told apart as the labels are; empty when one is no number."""
    distinct = {label_text(value): value for value in reversed(list(values))}
    numbers = [v for v in distinct.values() if isinstance(v, (int, float)) and not isinstance(v, bool)]
    return tuple(map(float, reversed(numbers))) if len(numbers) == len(distinct) else ()


def _by_other_labels(
    points: Sequence[Point], used: Sequence[str]
) -> list[tuple[dict[str, Any], list[Point]]]:
    groups: dict[str, tuple[dict[str, Any], list[Point]]] = {}
    for point in points:
        rest = _without(point.labels, used)
        groups.setdefault(labels_text(rest), (rest, []))[1].append(point)
    return list(groups.values())


def _without(labels: Mapping[str, Any], used: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in labels.items() if name not in used}


def _known(points: Sequence[Point], names: Sequence[str]) -> None:
    known = dict.fromkeys(name for point in points for name in point.labels)
    for name in names:
        if known and name not in known:
            raise InputError("reports", name, did_you_mean(name, list(known)))


def _x(point: Point, along: str) -> float:
    value = point.labels[along]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError("reports.curve", f"{along} = {label_text(value)}", "an axis of numbers")
    return float(value)


def _first(place: tuple[float, CellSummary]) -> float:
    return place[0]
