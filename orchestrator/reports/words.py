"""How values, labels and marks read, the same in every report."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.records.metrics import measure_of
from orchestrator.reports.summary import CellSummary, MetricLike

NOT_RUN = "not run"


def label_text(value: Any) -> str:
    """A label's value as the sweep file writes it.

    >>> label_text(0.5), label_text("pgd"), label_text({"input": 5, "weight": 1.0}), label_text(None)
    ('0.5', 'pgd', 'input: 5, weight: 1', 'none')
    """
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {label_text(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(label_text, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)


def labels_text(labels: Mapping[str, Any]) -> str:
    """Several labels in one line; a named point by its name alone.

    >>> labels_text({"point": "DropAttack-3", "method.p": 0.5})
    'DropAttack-3, method.p = 0.5'
    """
    parts = [label_text(v) if k == "point" else f"{k} = {label_text(v)}" for k, v in labels.items()]
    return ", ".join(parts)


def percent(metric: MetricLike) -> bool:
    """Whether a metric is a fraction that is shown in per cent, as papers print it."""
    return measure_of(metric.name).rpartition("_")[2] == "accuracy"


def scale(metric: MetricLike) -> float:
    """What a value is multiplied by to be shown."""
    return 100.0 if percent(metric) else 1.0


def metric_title(metric: MetricLike) -> str:
    """The metric with its unit: ``test.accuracy, %``."""
    return metric.name + (", %" if percent(metric) else "")


def checkpoint_text(metric: MetricLike) -> str:
    """Which weights were measured."""
    known = {"best": "best epoch on validation", "last": "last epoch", "best.test": "best epoch on TEST"}
    return known.get(metric.checkpoint) or f"best epoch under {metric.checkpoint.partition('.')[2]}"


def number(value: float, metric: MetricLike) -> str:
    """A value as it is shown: per cent with two decimals, else four significant digits.

    >>> from orchestrator.reports.summary import Measure
    >>> number(0.8812, Measure("test.accuracy")), number(0.0123456, Measure("val.loss"))
    ('88.12', '0.01235')
    """
    if math.isnan(value):
        return "–"
    return f"{100 * value:.2f}" if percent(metric) else f"{value:.4g}"


def lines_of(summary: CellSummary | None, metric: MetricLike) -> list[str]:
    """A cell in at most three short lines: mean, deviation, and what is missing of it.

    A place that is no point of the sweep has none. ``1/2`` is one value of two planned.
    """
    if summary is None:
        return []
    lines = [number(summary.mean, metric)] if summary.n else []
    if summary.n > 1:
        lines.append(f"± {number(summary.sd, metric)}")
    if not summary.n and not summary.failures:
        return [NOT_RUN]
    if not summary.complete and summary.n:
        lines.append(f"{summary.n}/{summary.planned}" + (f" {summary.mark}" if summary.mark else ""))
    elif summary.failures:
        lines.append(summary.mark)
    return lines


def in_line(summary: CellSummary | None, metric: MetricLike) -> str:
    """A cell in one line: ``88.12 ± 0.31 (5)``; ``88.12 (1/2, 1 diverged)`` when it is not complete."""
    if summary is None:
        return ""
    if not summary.n:
        return summary.mark or NOT_RUN
    spread = f" ± {number(summary.sd, metric)}" if summary.n > 1 else ""
    count = str(summary.n) if summary.complete else f"{summary.n}/{summary.planned}"
    mark = f", {summary.mark}" if summary.mark else ""
    return f"{number(summary.mean, metric)}{spread} ({count}{mark})"


def interval_text(summary: CellSummary, metric: MetricLike) -> str:
    """The 95 % t-interval of a cell's mean; empty for fewer than two values."""
    low, high = summary.interval
    return "" if math.isnan(low) else f"95 %: {number(low, metric)} to {number(high, metric)}"


def seeds_text(summaries: Iterable[CellSummary]) -> str:
    """How many seeds stand behind the cells: ``2 seeds``, ``1 seed``."""
    planned = max((summary.planned for summary in summaries), default=0)
    return f"{planned} seed" + ("s" if planned != 1 else "")


def selection_note(test_selection: bool) -> str:
    """What every report says when a sweep chose by test results."""
    return "Settings were selected on the TEST set: its numbers are optimistic." if test_selection else ""


def slug(text: str) -> str:
    """A text as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
