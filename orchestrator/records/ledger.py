"""The ledger: a row for each finished trial and for each evaluation, looked up by key.

What it holds as done is never computed again. Trials are in ``ledger/trials``, evaluations of their
checkpoints in ``ledger/evaluations``.
"""

from __future__ import annotations

from typing import get_args

import pyarrow as pa

from orchestrator.records.columns import BYTES, NUMBERS, TEXTS, Columns
from orchestrator.records.evaluation import EvaluationRow, EvaluationStatus
from orchestrator.records.row import DONE, Row, Status
from orchestrator.records.store import Store
from orchestrator.records.table import Table

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("cell", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("trial", pa.string()),
        ("canonical", pa.string()),
        ("best", NUMBERS),
        ("last", NUMBERS),
        ("also", NUMBERS),
        ("best_epoch", pa.int32()),
        ("history", pa.list_(NUMBERS)),
        ("correct", BYTES),
        ("examples", pa.int64()),
        ("failure", pa.string()),
        ("error", pa.string()),
        ("timings", NUMBERS),
        ("device", pa.string()),
        ("workers", pa.int32()),
        ("versions", TEXTS),
        ("git_commit", pa.string()),
        ("data_hash", pa.string()),
        ("contract", pa.int32()),
        ("host", pa.string()),
        ("finished", pa.string()),
        ("memory", pa.int64()),
        ("attempts", pa.int32()),
        ("rule", pa.string()),
        ("lineage", pa.string()),
    ]
)
"""Columns of a trial; ``trial``, ``canonical``, ``lineage`` are JSON. A test holds it to :class:`Row`."""

EVALUATION_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("trial", pa.string()),
        ("cell", pa.string()),
        ("seed", pa.int64()),
        ("checkpoint", pa.string()),
        ("name", pa.string()),
        ("label", pa.string()),
        ("status", pa.string()),
        ("settings", pa.string()),
        ("canonical", pa.string()),
        ("sweep", pa.string()),
        ("labels", pa.string()),
        ("metrics", NUMBERS),
        ("tables", pa.string()),
        ("correct", BYTES),
        ("examples", pa.int64()),
        ("failure", pa.string()),
        ("error", pa.string()),
        ("seconds", pa.float64()),
        ("device", pa.string()),
        ("workers", pa.int32()),
        ("versions", TEXTS),
        ("git_commit", pa.string()),
        ("data_hash", pa.string()),
        ("contract", pa.int32()),
        ("host", pa.string()),
        ("finished", pa.string()),
    ]
)
"""Columns of an evaluation; a test holds it against :class:`EvaluationRow`."""


class Ledger(Table[Row]):
    """The finished trials of a store.

    >>> from orchestrator.records.store import Store
    >>> ledger = Ledger(Store("memory://ledger-doctest"))
    >>> ledger.write(Row(key="ab", cell="c", seed=0, status="completed", trial={}, canonical={}))
    True
    >>> ledger.index(), ledger.read(["ab"])[0].seed
    ({'ab': 'completed'}, 0)
    """

    folder = "ledger/trials"
    columns = Columns(Row, SCHEMA, json=("trial", "canonical", "lineage"))
    statuses, done = get_args(Status), DONE

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.evaluations = Evaluations(store)


class Evaluations(Table[EvaluationRow]):
    """The evaluations of a store's trials."""

    folder = "ledger/evaluations"
    columns = Columns(EvaluationRow, EVALUATION_SCHEMA, json=("settings", "canonical", "labels", "tables"))
    statuses, done = get_args(EvaluationStatus), ("completed",)


to_parquet, from_parquet = Ledger.to_parquet, Ledger.from_parquet
