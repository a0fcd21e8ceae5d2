"""What is decided: measured beside published, and which cell is the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.planning.cells import Point
from orchestrator.planning.decisions import Difference, Values, leader_of, race, reproduction
from orchestrator.reports.sheet import Line, Sheet
from orchestrator.reports.summary import CellSummary, MetricLike
from orchestrator.reports.words import in_line, labels_text, metric_title, number, percent

if TYPE_CHECKING:
    from orchestrator.sweepfile.replicates import Published

VERDICT_NOTE = (
    "Verdict from the 90 % t-interval of measured - published (two one-sided tests): within the margin on "
    "both sides reproduced, wholly beyond it higher or lower, else inconclusive. One seed gives no verdict."
)
RACE_NOTE = (
    "A cell is beaten when the 95 % t-interval of its paired difference to the leader (same seeds) lies "
    "below 0 (above, where less is better). Each comparison has its own level; none is corrected for their "
    "number."
)
MARKS = {
    **dict.fromkeys(("reproduced", "best"), "good"),
    **dict.fromkeys(("higher", "lower", "failed", "no value"), "bad"),
    **dict.fromkeys(("inconclusive", "in the race", "not run", ""), "open"),
}


def published_sheet(
    points: Sequence[Point],
    at: Sequence[str],
    published: Sequence[Published],
    cells: Mapping[str, CellSummary],
    metric: MetricLike,
) -> Sheet:
    """A row for each published value.

    Args:
        points: of the sweep. at: cell of each published value. cells: by key. metric: of the values.
    """
    first = {point.cell: labels_text(point.labels) or "base trial" for point in reversed(points)}
    lines = []
    for one, cell in zip(published, at, strict=True):
        summary = cells[cell]
        found = reproduction(with_failures(summary), one.value, one.margin)
        place = labels_text(one.at) or first[cell]
        word = found.verdict or ("no verdict with one seed" if summary.n else "not run")
        lines.append(
            Line(
                (place, number(one.value, metric), in_line(summary, metric), signed(found.difference, metric),
                 interval(found.difference, metric), number(one.margin, metric), word, one.source),
                (place, repr(one.value), repr(one.margin), _exact(summary.mean), str(summary.n),
                 str(summary.planned), summary.mark, *_exacts(found.difference), found.verdict, one.source,
                 cell),
                MARKS[found.verdict],
            )
        )  # fmt: skip
    return Sheet(
        "published",
        f"Published beside measured: {metric_title(metric)}",
        VERDICT_NOTE,
        ("at", "published", "measured", "difference", "90 % interval", "margin", "verdict", "source"),
        ("at", "published", "margin", "mean", "n", "planned", "failures", "difference", "low", "high",
         "verdict", "source", "cell"),
        lines,
        ((0,), (1,), (2,), (3, 4), (6,)),
    )  # fmt: skip


def race_sheet(
    points: Sequence[Point],
    values: Mapping[str, Values],
    cells: Mapping[str, CellSummary],
    metric: MetricLike,
) -> Sheet:
    """A row for each cell, the best first."""
    first = {point.cell: labels_text(point.labels) or "base trial" for point in reversed(points)}
    standing, leader = race(values, metric.mode), leader_of(values, metric.mode)
    sign = -1 if metric.mode == "max" else 1
    order = sorted(standing, key=lambda cell: (cell != leader, _last(sign * cells[cell].mean)))
    lines = []
    for cell in order:
        one, summary = standing[cell], cells[cell]
        ahead = cell == leader
        apart = ("", "") if ahead else (signed(one.to_leader, metric), interval(one.to_leader, metric))
        word = f"{one.state}, leads" if ahead and one.state != "best" else one.state
        if one.state == "no value" and not summary.failures:
            word = "not run"
        lines.append(
            Line(
                (first[cell], in_line(summary, metric), *apart, word),
                (first[cell], _exact(summary.mean), str(summary.n), str(summary.planned), summary.mark,
                 *(("", "", "") if ahead else _exacts(one.to_leader)), word, cell),
                MARKS.get(one.state, ""),
            )
        )  # fmt: skip
    return Sheet(
        "best",
        f"The race for the best cell: {metric_title(metric)}",
        RACE_NOTE,
        ("cell", "measured", "to the leader", "95 % interval", "standing"),
        ("at", "mean", "n", "planned", "failures", "difference", "low", "high", "standing", "cell"),
        lines,
        ((0,), (1,), (2, 3), (4,)),
    )


def with_failures(summary: CellSummary) -> dict[int, float | None]:
    """A cell's values; trials without one stand under numbers that are no seeds."""
    return {**summary.values, **{-1 - i: None for i in range(summary.failures.total())}}


def signed(found: Difference, metric: MetricLike) -> str:
    """A difference with its sign, as the metric is shown."""
    if math.isnan(found.mean):
        return ""
    return f"{100 * found.mean:+.2f}" if percent(metric) else f"{found.mean:+.4g}"


def interval(found: Difference, metric: MetricLike) -> str:
    """Its interval; empty for fewer than two values."""
    if found.n < 2:
        return ""
    low, high = (Difference(value, 0, 0, 2) for value in (found.low, found.high))
    return f"{signed(low, metric)} to {signed(high, metric)}"


def _exacts(found: Difference) -> tuple[str, str, str]:
    return _exact(found.mean), _exact(found.low), _exact(found.high)


def _exact(value: float) -> str:
    return repr(value) if math.isfinite(value) else ""


def _last(value: float) -> float:
    return math.inf if math.isnan(value) else value
