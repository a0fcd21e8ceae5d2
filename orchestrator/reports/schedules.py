"""The schedules that a population came to: its settings over the epochs, of every member, the best marked."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports.figures import COLOURS, DPI, SEARCHED, png
from orchestrator.reports.summary import MetricLike
from orchestrator.reports.words import label_text, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "schedules"
SHOWN = 12
"""Digits of a key."""


def members(points: Sequence[Point], rows: Sequence[Row]) -> list[Row]:
    """The rows of a population, in the order of their keys; none where the sweep has none."""
    cells = {point.cell for point in points}
    return sorted((row for row in rows if row.lineage and row.cell in cells), key=lambda row: row.key)


def best_of(rows: Sequence[Row], metric: MetricLike) -> Row | None:
    """The completed member with the best value of the metric; None where none has one."""
    by = 1 if metric.mode == "max" else -1
    found = [
        (by * value, row)
        for row in rows
        if row.status == "completed"
        and (value := row.measured(metric.checkpoint).get(metric.name)) is not None
        and math.isfinite(value)
    ]
    return max(found, key=lambda one: one[0])[1] if found else None


def table(rows: Sequence[Row]) -> dict[str, bytes]:
    """A CSV by its file name: a line for each time that a member's settings changed."""
    if not rows:
        return {}
    names = _names(rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["member", "epoch", *names, "from"])
    for row in rows:
        for segment in row.lineage:
            settings = [segment["settings"].get(name) for name in names]
            writer.writerow([row.key, segment["epoch"], *settings, segment["from"]])
    return {f"{NAME}.csv": buffer.getvalue().encode()}


def lines(rows: Sequence[Row], metric: MetricLike) -> list[str]:
    """For the terminal: the best member and its schedule, in one line."""
    best = best_of(rows, metric)
    if best is None:
        return []
    parts = []
    for name in _names(rows):
        steps = [f"{label_text(value)} from epoch {epoch}" for epoch, value in _steps(best, name)]
        parts.append(f"{name} " + ", ".join(steps))
    value = number(best.measured(metric.checkpoint)[metric.name], metric)
    return [f"best member {best.key[:SHOWN]}, {metric.name} {value}: {'; '.join(parts)}"]


def picture(rows: Sequence[Row], metric: MetricLike) -> dict[str, bytes]:
    """A PNG by its file name: each setting that is a number over the epochs, a line for each member."""
    from matplotlib.figure import Figure

    names = [name for name in _names(rows) if all(_numeric(v) for row in rows for _, v in _steps(row, name))]
    if not names:
        return {}
    best = best_of(rows, metric)
    figure = Figure(figsize=(7.2, 0.8 + 2.8 * len(names)), dpi=DPI)
    for i, name in enumerate(names, 1):
        axes = figure.add_subplot(len(names), 1, i)
        _draw(axes, rows, best, name)
        if i == 1:
            axes.set_title(f"settings over the epochs, {len(rows)} members", fontsize=10, loc="left")
            axes.legend(fontsize=8, frameon=False)
    figure.set_layout_engine("tight")
    return {f"{NAME}.png": png(figure)}


def _draw(axes: Axes, rows: Sequence[Row], best: Row | None, name: str) -> None:
    values = [value for row in rows for _, value in _steps(row, name)]
    others = [row for row in rows if row is not best]
    for i, row in enumerate(others):
        axes.step(*_line(row, name), where="post", color="#999999", linewidth=1,
                  label="others" if i == 0 else None)  # fmt: skip
    if best is not None:
        axes.step(*_line(best, name), where="post", color=COLOURS[0], linewidth=2.5,
                  label=f"best member, {best.key[:SHOWN]}")  # fmt: skip
    if min(values) > 0 and max(values) / min(values) >= SEARCHED:
        axes.set_yscale("log")
    axes.set_xlabel("epochs finished")
    axes.set_ylabel(name)


def _line(row: Row, name: str) -> tuple[list[float], list[float]]:
    """Places and values of a member's line, to the last epoch that it has finished."""
    steps = _steps(row, name)
    end = row.history[-1]["epoch"] if row.history else steps[-1][0]
    return [*(epoch - 1 for epoch, _ in steps), end], [*(v for _, v in steps), steps[-1][1]]


def _steps(row: Row, name: str) -> list[tuple[int, Any]]:
    """From which epoch on a member had which value."""
    return [(segment["epoch"], segment["settings"].get(name)) for segment in row.lineage]


def _names(rows: Sequence[Row]) -> list[str]:
    return list(
        dict.fromkeys(name for row in rows for segment in row.lineage for name in segment["settings"])
    )


def _numeric(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
