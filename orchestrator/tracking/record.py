"""What MLflow is told of a row, a cell and a sweep: names and numbers, no calls."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports.drawing import Drawing
from orchestrator.reports.facts import reason
from orchestrator.reports.importances import Importances
from orchestrator.reports.summary import (
    CellSummary,
    Measure,
    evaluation_metrics,
    failure_mark,
    metric_value,
    summarise,
)
from orchestrator.reports.words import label_text
from orchestrator.tracking.mlflow_store import Value, finite, metric_name

Checkpoint = Literal["best", "last"]
Epochs = Mapping[int, Mapping[str, float]]
"""Metrics by epoch."""

ENDED = {"completed": "FINISHED", "diverged": "FINISHED", "failed": "FAILED", "pruned": "KILLED"}
"""MLflow's status of a run, by the row's; a trial that diverged did run to its end."""

EVALUATION = "evaluation."
"""Begins the tag that says which evaluation a run carries under a label."""


def shared_labels(points: Sequence[Point]) -> dict[str, dict[str, Any]]:
    """By cell, the labels that all its places have in common: p = 0 has no epsilon.

    >>> shared_labels([Point({"epsilon": 1, "p": 0}, "c"), Point({"epsilon": 2, "p": 0}, "c")])
    {'c': {'p': 0}}
    """
    found: dict[str, dict[str, Any]] = {}
    for point in points:
        labels = found.setdefault(point.cell, dict(point.labels))
        for name in [name for name in labels if point.labels.get(name) != labels[name]]:
            del labels[name]
    return found


def params_of(labels: Mapping[str, Any]) -> dict[str, str]:
    """Labels as params; a very long value is cut, as MLflow would."""
    return {name: label_text(value)[:500] for name, value in labels.items()}


def measured(epoch: Mapping[str, float]) -> dict[str, float]:
    """An epoch's metrics without its number."""
    return {name: value for name, value in epoch.items() if name != "epoch"}


def epochs_of(row: Row) -> dict[int, dict[str, float]]:
    """A row's history by epoch."""
    return {int(epoch["epoch"]): measured(epoch) for epoch in row.history}


def finals(row: Row) -> dict[str, float]:
    """A row's metrics of no epoch: ``best.val.accuracy``, ``last.test.loss``, ``seconds.train``."""
    found = {f"best.{name}": value for name, value in measured(row.best).items()}
    found |= {f"last.{name}": value for name, value in measured(row.last).items()} | row.also
    found |= {f"seconds.{phase}": seconds for phase, seconds in row.timings.items()}
    return found | ({"best.epoch": float(row.best_epoch)} if row.best_epoch else {})


def is_final(name: str, tags: Mapping[str, str]) -> bool:
    """Whether a metric of a run with these tags is of no epoch: a final one, or an evaluation's."""
    head = name.partition(".")[0]
    return head in ("best", "last", "seconds") or f"{EVALUATION}{head}" in tags


def evaluation_tags(row: Row) -> dict[str, str]:
    """By label, which evaluation's record a run carries, and how that ended."""
    return {
        f"{EVALUATION}{label}": " ".join(filter(None, (one.status, one.failure, one.key[:12], one.finished)))
        for label, one in row.evaluations.items()
    }


def outdated(tags: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether a run holds metrics of evaluations that are not those wanted under their labels."""
    told = {name: tag for name, tag in tags.items() if name.startswith(EVALUATION)}
    return any(tag.startswith("completed") and wanted.get(name) != tag for name, tag in told.items())


def columns_of(table: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """An evaluation's table by columns."""
    names = list(dict.fromkeys(name for line in table for name in line))
    return {name: [line.get(name) for line in table] for name in names}


def agree(known: Epochs, told: Epochs) -> bool:
    """Whether all that is known of epochs is what the ledger tells; epochs may be missing."""
    return all(
        name in told.get(epoch, {}) and _same(value, told[epoch][name])
        for epoch, metrics in known.items()
        for name, value in metrics.items()
    )


def moment(finished: str) -> int:
    """A time in ISO 8601 in milliseconds since 1970."""
    return int(1000 * datetime.fromisoformat(finished).timestamp()) if finished else 0


def times(row: Row) -> tuple[int, int]:
    """Start and end of a trial, in milliseconds since 1970."""
    end = moment(row.finished)
    return end - int(1000 * row.timings.get("total", 0.0)), end


def lacking(row: Row, history: Epochs, known: Epochs, held: Mapping[str, float]) -> list[Value]:
    """What a run lacks of its row; epochs are spread evenly over the time that the trial took."""
    (start, end), last = times(row), max(history, default=1)
    values = [
        Value(name, value, start + (end - start) * epoch // last, epoch)
        for epoch, metrics in history.items()
        for name, value in metrics.items()
        if name not in known.get(epoch, {})
    ]
    return values + [
        Value(name, value, end, last)
        for name, value in finals(row).items()
        if held.get(metric_name(name)) != finite(value)
    ]


def as_kept(history: Epochs) -> dict[int, dict[str, float]]:
    """A history with names and numbers as MLflow keeps them."""
    return {e: {metric_name(n): finite(v) for n, v in metrics.items()} for e, metrics in history.items()}


def row_tags(row: Row) -> dict[str, str]:
    """Where a trial's numbers come from, and how it ended; ``tracked`` says that all of it is there."""
    tags = {
        "status": row.status,
        "failure": failure_mark(row) if row.status != "completed" else "",
        "error": reason(row.error)[:500],
        "device": row.device,
        "host": row.host,
        "commit": row.git_commit,
        "data_hash": row.data_hash,
        "contract": str(row.contract),
        "finished": row.finished,
        "tracked": tracked_mark(row),
    }
    return {name: value for name, value in tags.items() if value}


def tracked_mark(row: Row) -> str:
    """Tells one record of a trial from a later one of the same key."""
    return f"{row.status} {row.finished}"


def cell_metrics(summary: CellSummary, rows: Sequence[Row], seeds: Sequence[int]) -> dict[str, float]:
    """Numbers of the sweep's metric, as :data:`reports.tables.COLUMNS` has them; mean and sd of all others.

    What is not defined is left out.
    """
    low, high = summary.interval
    found = {"mean": summary.mean, "sd": summary.sd, "n": summary.n, "planned": summary.planned}
    found |= {"ci95_low": low, "ci95_high": high, "failures": summary.failures.total()}
    names = dict.fromkeys(name for row in rows for name in measured({**row.best, **row.last}))
    for checkpoint, name in product(get_args(Checkpoint), names):
        measure = Measure(name, checkpoint=checkpoint)
        if any(metric_value(row, measure) is not None for row in rows):
            other = summarise([summary.cell], rows, measure, seeds)[summary.cell]
            found |= {f"{checkpoint}.{name}.mean": other.mean, f"{checkpoint}.{name}.sd": other.sd}
    for measure in evaluation_metrics(rows):
        other = summarise([summary.cell], rows, measure, seeds)[summary.cell]
        found |= {f"{measure.name}.mean": other.mean, f"{measure.name}.sd": other.sd}
        found |= {f"{measure.name}.n": other.n}
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def table_columns(drawing: Drawing) -> dict[str, list[Any]]:
    """A report's places as the columns of a table: labels, then the numbers."""
    if isinstance(drawing, Importances):
        return drawing.columns()
    names = list(dict.fromkeys(name for point in drawing.points for name in point.labels))
    places = [(metric, point) for metric, _ in drawing.parts for point in drawing.points]
    cells = [found[point.cell] for _, found in drawing.parts for point in drawing.points]
    columns: dict[str, list[Any]] = {
        name: [label_text(point.labels[name]) if name in point.labels else "" for _, point in places]
        for name in names
    }
    if drawing.numbers:
        columns["metric"] = [metric.name for metric, _ in places]
    columns["mean"] = [_defined(cell.mean) for cell in cells]
    columns["sd"] = [_defined(cell.sd) for cell in cells]
    columns["n"] = [cell.n for cell in cells]
    columns["planned"] = [cell.planned for cell in cells]
    columns["ci95_low"] = [_defined(cell.interval[0]) for cell in cells]
    columns["ci95_high"] = [_defined(cell.interval[1]) for cell in cells]
    columns["failures"] = [cell.mark for cell in cells]
    columns["cell"] = [cell.cell for cell in cells]
    return columns


def digest(drawings: Sequence[Drawing], files: Sequence[Path]) -> str:
    """Changes with any number or file that the parent carries."""
    hashed = hashlib.sha256()
    for drawing in drawings:
        hashed.update(f"{drawing.name}\n{drawing.csv()}".encode())
    for path in files:
        hashed.update(path.name.encode() + path.read_bytes())
    return hashed.hexdigest()


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _same(a: float, b: float) -> bool:
    return a == b or (a != a and b != b) or math.isclose(a, b, rel_tol=1e-9)
