"""What a cell came to, as a searcher is told it, and what the ledger holds of a search space."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.planning.evaluations import attach, jobs_of_row
from orchestrator.planning.expand import expand_one, probes
from orchestrator.planning.space import Settings, settings_of
from orchestrator.records.ledger import Ledger
from orchestrator.records.metrics import label_of
from orchestrator.records.row import SETTLED, Row
from orchestrator.sweepfile.parts import Metric
from orchestrator.sweepfile.sweep import Sweep

Vector = tuple[float, ...]
"""A value for each objective."""

UNREAD = ("also", "history", "correct", "error", "timings", "versions", "lineage")
"""Columns of a row that are not needed to tell it, and are most of it."""


@dataclass(frozen=True)
class Result:
    """A cell over its seeds.

    Attributes:
        values: of each seed, NaN where a trial left none.
        reached: epoch, from 1, and metric of the seeds that a scheduler ended there.
    """

    values: Mapping[int, Vector] = field(default_factory=dict)
    reached: tuple[tuple[int, float], ...] = ()

    @property
    def pruned(self) -> bool:
        """Whether a scheduler ended a seed."""
        return bool(self.reached)

    @property
    def means(self) -> Vector | None:
        """Mean of each objective over the seeds; None where a value is missing or not finite."""
        if not self.values or not all(map(math.isfinite, sum(self.values.values(), ()))):
            return None
        return tuple(statistics.fmean(values) for values in zip(*self.values.values(), strict=True))

    @property
    def spreads(self) -> Vector:
        """Sample standard deviation of each objective; NaN for fewer than two values or one not finite."""
        columns = list(zip(*self.values.values(), strict=True))
        return tuple(_deviation(column) for column in columns)


def _deviation(values: Vector) -> float:
    return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan


def value(row: Row, metric: Metric) -> float:
    """A metric of a completed trial, NaN where it has none."""
    if row.status != "completed":
        return math.nan
    return row.measured(metric.checkpoint).get(metric.name, math.nan)


def reached(last: Mapping[str, float], metric: str) -> tuple[int, float]:
    """Epoch and metric at which a trial was pruned; NaN where it measured none."""
    return int(last.get("epoch", 0)), last.get(metric, math.nan)


def known(sweep: Sweep, ledger: Ledger, asked: Mapping[str, Settings]) -> dict[str, tuple[Settings, Result]]:
    """Cells of the search space whose seeds are all settled in the ledger, whichever sweep trained them.

    A seed that was pruned under another rule than this sweep's is not settled. A cell whose evaluation is
    still to be made is not among them.

    Args:
        sweep: the search. ledger: of the store. asked: settings of the cells that this search asked for.
    """
    over = {key: status for key, status in ledger.index(sweep.rule).items() if status in SETTLED}
    rows = [row for row in ledger.read(over, over, sweep.rule, UNREAD) if row.seed in sweep.seeds]
    inside: dict[str, Settings | None] = {}
    fixed = _fixed(sweep)
    for row in rows:
        if row.cell not in inside:
            inside[row.cell] = asked.get(row.cell) or (
                settings_of(row, sweep) if _alike(row, fixed) else None
            )
    mine = [row for row in rows if inside[row.cell] is not None]
    found: dict[str, dict[int, Vector]] = {}
    ended: dict[str, list[tuple[int, float]]] = {}
    for row in _evaluated(mine, sweep, ledger):
        vector = tuple(value(row, metric) for metric in sweep.goals)
        if row.status == "completed" and _waits(vector, sweep.goals):
            continue
        found.setdefault(row.cell, {})[row.seed] = vector
        if row.status == "pruned":
            ended.setdefault(row.cell, []).append(reached(row.last, sweep.watched))
    return {
        cell: (inside[cell] or {}, Result(values, tuple(ended.get(cell, ()))))
        for cell, values in found.items()
        if len(values) == len(sweep.seeds)
    }


def _waits(vector: Vector, metrics: Sequence[Metric]) -> bool:
    """Whether an evaluation's metric of a completed trial is still to come."""
    pairs = zip(vector, metrics, strict=True)
    return any(label_of(metric.name) and not math.isfinite(number) for number, metric in pairs)


def _evaluated(rows: Sequence[Row], sweep: Sweep, ledger: Ledger) -> Iterable[Row]:
    if not any(label_of(metric.name) for metric in sweep.goals):
        return rows
    return attach(rows, [job for row in rows for job in jobs_of_row(row, sweep)], ledger)


def _fixed(sweep: Sweep) -> dict[str, Any]:
    """Parts of the canonical form that no point of the space changes; empty where none is known."""
    from engine.identity import canonical

    searched = {name.partition(".")[0] for name in sweep.search} | {"method", "init", "plugins", "seed"}
    forms = [canonical(expand_one(sweep, probe)[1].trial) for probe in probes(sweep)]
    first = forms[0] if forms else {}
    return {
        part: form
        for part, form in first.items()
        if part not in searched and all(other.get(part) == form for other in forms)
    }


def _alike(row: Row, fixed: Mapping[str, Any]) -> bool:
    """Cheap and necessary for a row to lie in the space: what the search leaves alone is the same."""
    return all(row.canonical.get(part) == form for part, form in fixed.items())
