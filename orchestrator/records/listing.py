"""Rows of the ledger for people: the latest, and one by the beginning of its key."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from engine.errors import InputError
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.ledger import Ledger
from orchestrator.records.places import candidates
from orchestrator.records.row import Row

LONG = ("history", "correct")
"""Columns that take most of a row."""

SHOWN = 12
"""Digits of a key that are shown."""


def latest(
    ledger: Ledger,
    keys: Container[str] | None = None,
    statuses: Container[str] | None = None,
    limit: int | None = None,
) -> list[Row]:
    """The trials that finished last, without their history, the last one first.

    Args:
        ledger: whose. keys, statuses: to keep to; None for all. limit: how many at most; None for all.
    """
    loose: list[str] = []
    ends: list[tuple[str, str]] = []
    for key, places in ledger.places().items():
        chosen = candidates(places, ledger.done, rule=None)
        if (keys is not None and key not in keys) or not chosen:
            continue
        if any(place.loose for place in chosen):
            loose.append(key)  # when it finished, its file says
        elif statuses is None or any(place.status in statuses for place in chosen):
            ends.append((max(place.finished for place in chosen), key))
    wanted = [*loose, *(key for _, key in sorted(ends, reverse=True)[:limit])]
    rows = ledger.read(wanted, rule=None, without=LONG)
    rows = [row for row in rows if statuses is None or row.status in statuses]
    return sorted(rows, key=lambda row: (row.finished, row.key), reverse=True)[:limit]


def one(ledger: Ledger, prefix: str) -> Row | EvaluationRow:
    """The trial, or else the evaluation, whose key begins so; a trial has its evaluations with it.

    Raises:
        InputError: no key begins so, or several do.
    """
    found: list[str] = []
    for table in (ledger, ledger.evaluations):
        found = table.find(prefix.lower()) if prefix else []
        if len(found) > 1:
            shown = ", ".join(key[: max(SHOWN, len(prefix) + 4)] for key in found[:3])
            legal = f"the beginning of one key; {len(found)} begin so: {shown}" + ", ..." * (len(found) > 3)
            raise InputError("key", repr(prefix), legal)
        rows = table.read(found, rule=None)
        if rows:
            (row,) = rows
            return with_evaluations(ledger, row) if isinstance(row, Row) else row
    legal = f"the beginning of a key in the ledger of {ledger.store.location}; perturb ledger ls shows them"
    raise InputError("key", repr(prefix), legal)


def with_evaluations(ledger: Ledger, row: Row) -> Row:
    """A trial's row with all its evaluations, by their labels, and where two share one, by their keys too."""
    found: dict[str, EvaluationRow] = {}
    for evaluation in sorted(ledger.evaluations.read(evaluated(ledger, row.key)), key=lambda e: e.finished):
        label = evaluation.label or evaluation.name
        found[f"{label} {evaluation.key[:SHOWN]}" if label in found else label] = evaluation
    return replace(row, evaluations=found)


def evaluated(ledger: Ledger, trial: str) -> list[str]:
    """Keys of the evaluations of a trial; loose rows are read for it, of segments one column."""
    table = ledger.evaluations
    loose = [key for key, _ in table.loose()]
    found = [row.key for row in table.read(loose) if row.trial == trial]
    return list(dict.fromkeys([*found, *table.where("trial", trial)]))
