"""What ``perturb ledger`` prints, from plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.dispatch.live import duration
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.listing import SHOWN
from orchestrator.records.row import Row
from orchestrator.records.store import Store

ABOUT = ("device", "workers", "attempts", "host", "git_commit", "data_hash", "contract", "rule")


def rows_view(rows: Sequence[Row], metric: str, store: Store) -> RenderableType:
    """One line for each trial."""
    if not rows:
        return Text(f"the ledger of {store.location} holds no such trial")
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("key", min_width=SHOWN)
    for column in ("status", "seed", "method", "data", f"best {metric}", "finished", "seconds"):
        table.add_column(column)
    for row in rows:
        line = line_of(row, metric)
        best = "-" if line["best"] is None else f"{line['best']:.4f}"
        seconds = f"{line['seconds']:.1f}"
        table.add_row(
            line["key"][:SHOWN], line["failure"] or line["status"], str(line["seed"]), line["method"],
            line["data"], best, line["finished"].removesuffix("+00:00"), seconds,
        )  # fmt: skip
    return table


def line_of(row: Row, metric: str) -> dict[str, Any]:
    """What ``ls`` says of a trial, as plain values."""
    best = row.best.get(metric)
    return {
        "key": row.key,
        "cell": row.cell,
        "status": row.status,
        "failure": row.failure,
        "seed": row.seed,
        "method": _name(row.trial.get("method"), "composition"),
        "data": _name(row.trial.get("data"), "-"),
        "best": best if best is not None and math.isfinite(best) else None,
        "finished": row.finished,
        "seconds": row.timings.get("total", 0.0),
    }


def row_view(row: Row | EvaluationRow) -> RenderableType:
    """All of one row."""
    if isinstance(row, EvaluationRow):
        return _evaluation_view(row)
    parts: list[RenderableType] = [
        Text(
            f"trial {row.key}\n{row.status}, seed {row.seed}, finished {row.finished or '-'}, cell {row.cell}"
        )
    ]
    parts += _failure(row)
    parts.append(_section("settings", _leaves(row.trial)))
    metrics = {"best": row.best, "last": row.last} | _apart(row.also)
    parts.append(_metrics(metrics, f"metrics (best epoch {row.best_epoch} of {len(row.history)})"))
    seconds = {
        name: duration(value) if value >= 60 else f"{value:.2f} s" for name, value in row.timings.items()
    }
    parts.append(_section("timings", seconds))
    parts.append(_section("provenance", _about(row)))
    if row.lineage:
        parts.append(_section("lineage", {str(i): step for i, step in enumerate(row.lineage, 1)}))
    for label, one in row.evaluations.items():
        head = f"evaluation {label}: {one.key[:SHOWN]} {one.status}, of {one.checkpoint}"
        parts.append(_section(head, {name: f"{value:.4f}" for name, value in one.metrics.items()}))
    return Group(*parts)


def _evaluation_view(row: EvaluationRow) -> RenderableType:
    head = (
        f"evaluation {row.key}\n{row.status}, {row.label or row.name} of the {row.checkpoint} weights "
        f"of trial {row.trial}\nseed {row.seed}, finished {row.finished or '-'}, {row.seconds:.1f} s"
    )
    metrics = {name: f"{value:.4f}" for name, value in row.metrics.items()}
    sections = [_section("settings", _leaves(row.settings)), _section("metrics", metrics),
                _section("provenance", _about(row))]  # fmt: skip
    return Group(Text(head), *_failure(row), *sections)


def plain(row: Row | EvaluationRow) -> dict[str, Any]:
    """A row as JSON values: of packed bits how many are set, and null for a number that is none."""
    values = asdict(row)
    values["correct"] = {name: int.from_bytes(bits).bit_count() for name, bits in row.correct.items()}
    if isinstance(row, Row):
        values["evaluations"] = {label: plain(one) for label, one in row.evaluations.items()}
    found: dict[str, Any] = _finite(values)
    return found


def _failure(row: Row | EvaluationRow) -> list[RenderableType]:
    if not row.error and row.failure is None:
        return []
    return [Text(f"\n{row.failure or row.status}"), Text(row.error.rstrip())]


def _about(row: Row | EvaluationRow) -> dict[str, Any]:
    found = {name: getattr(row, name, "") for name in ABOUT}
    memory = getattr(row, "memory", 0)
    found["memory"] = f"{memory / 2**20:.0f} MiB" if memory else ""
    found["correct"] = {name: f"{int.from_bytes(bits).bit_count()} of {row.examples}"
                        for name, bits in row.correct.items()}  # fmt: skip
    found["versions"] = ", ".join(f"{name} {version}" for name, version in row.versions.items())
    return {name: value for name, value in found.items() if value not in ("", {}, None)}


def _apart(also: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Metrics of the checkpoints recorded apart, by the checkpoint: ``best.NAME``."""
    found: dict[str, dict[str, float]] = {}
    for name, value in also.items():
        head, _, rest = name.partition(".")
        place, _, metric = rest.partition(".")
        found.setdefault(f"{head}.{place}", {})[metric] = value
    return found


def _metrics(checkpoints: Mapping[str, Mapping[str, float]], title: str) -> RenderableType:
    names = dict.fromkeys(name for metrics in checkpoints.values() for name in metrics)
    if not names:
        return Text(f"\n{title}: none")
    there = [name for name, metrics in checkpoints.items() if metrics]
    table = Table("", *there, box=None, padding=(0, 2, 0, 2), title=f"\n{title}", title_justify="left",
                  title_style="")  # fmt: skip
    for name in names:
        values = [checkpoints[place].get(name) for place in there]
        table.add_row(name, *("-" if value is None else f"{value:.4f}" for value in values))
    return table


def _section(title: str, values: Mapping[str, Any]) -> RenderableType:
    lines = "".join(f"\n  {name}: {_words(value)}" for name, value in values.items())
    return Text(f"\n{title}{lines or ': none'}")


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(inner)}" for name, inner in value.items())
    return ", ".join(map(_words, value)) if isinstance(value, (list, tuple)) else str(value)


def _leaves(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= (
            _leaves(value, f"{before}{name}.")
            if isinstance(value, Mapping) and value
            else {f"{before}{name}": value}
        )
    return found


def _name(component: Any, other: str) -> str:
    return str(component.get("name", other)) if isinstance(component, Mapping) else other


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
