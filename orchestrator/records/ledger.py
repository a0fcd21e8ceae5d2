"""The ledger: one Parquet file a finished trial, looked up by key. What it holds is never trained again.

Status and key stand in the path (``ledger/trials/completed/<key>.parquet``), so that planning lists
folders and reads no file. Evaluations made after training get a folder beside ``trials``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.records.row import DONE, Row, Status
from orchestrator.records.store import Store

FOLDER = "ledger/trials"
_NUMBERS = pa.map_(pa.string(), pa.float64())
_TEXTS = pa.map_(pa.string(), pa.string())

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("cell", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("trial", pa.string()),
        ("canonical", pa.string()),
        ("best", _NUMBERS),
        ("last", _NUMBERS),
        ("best_epoch", pa.int32()),
        ("history", pa.list_(_NUMBERS)),
        ("correct", pa.map_(pa.string(), pa.binary())),
        ("examples", pa.int64()),
        ("failure", pa.string()),
        ("error", pa.string()),
        ("timings", _NUMBERS),
        ("device", pa.string()),
        ("workers", pa.int32()),
        ("versions", _TEXTS),
        ("git_commit", pa.string()),
        ("data_hash", pa.string()),
        ("contract", pa.int32()),
        ("host", pa.string()),
        ("finished", pa.string()),
    ]
)
"""Columns of a row; ``trial`` and ``canonical`` are JSON texts. A test holds it against :class:`Row`."""

_JSON = ("trial", "canonical")
_MAPS = ("best", "last", "correct", "timings", "versions")


class Ledger:
    """The finished trials of a store.

    >>> from orchestrator.records.store import Store
    >>> ledger = Ledger(Store("memory://ledger-doctest"))
    >>> ledger.write(Row(key="ab", cell="c", seed=0, status="completed", trial={}, canonical={}))
    >>> ledger.index(), ledger.read(["ab"])[0].seed
    ({'ab': 'completed'}, 0)
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def index(self) -> dict[str, Status]:
        """Status of every key, from the names of files alone; a done status wins over another."""
        found: dict[str, Status] = {}
        statuses = sorted(get_args(Status), key=lambda status: status in DONE)
        for status in statuses:
            for name in self.store.names(f"{FOLDER}/{status}"):
                if name.endswith(".parquet"):
                    found[name.removesuffix(".parquet")] = status
        return found

    def write(self, row: Row) -> None:
        """Store a row, in place of an earlier one of the same key that was not done.

        A trial that is done stays done: a failure that is told later, by a worker that was retried or by
        another sweep, is dropped.
        """
        if row.status not in DONE and any(self.store.exists(_name(s, row.key)) for s in DONE):
            return
        self.store.put(_name(row.status, row.key), to_parquet(row))
        for status in get_args(Status):
            if status != row.status:
                self.store.remove(_name(status, row.key))

    def read(self, keys: Iterable[str], index: Mapping[str, Status] | None = None) -> list[Row]:
        """The rows of these keys, in their order; keys without one are passed over."""
        index = self.index() if index is None else index
        names = [_name(index[key], key) for key in keys if key in index]
        with ThreadPoolExecutor(8) as pool:
            contents = list(pool.map(self.store.get, names))
        return [from_parquet(content) for content in contents if content is not None]

    def find(self, prefix: str) -> list[str]:
        """Keys that begin with these digits."""
        return sorted(key for key in self.index() if key.startswith(prefix))


def to_parquet(row: Row) -> bytes:
    """A row as a Parquet file."""
    values: dict[str, Any] = {field.name: getattr(row, field.name) for field in fields(Row)}
    for name in _JSON:
        values[name] = json.dumps(values[name], sort_keys=True)
    for name in _MAPS:
        values[name] = list(values[name].items())
    values["history"] = [list(epoch.items()) for epoch in row.history]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([values], SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(content: bytes) -> Row:
    """The row that :func:`to_parquet` wrote; columns that a later version added are passed over."""
    (values,) = pq.read_table(io.BytesIO(content)).to_pylist()
    for name in _JSON:
        values[name] = json.loads(values[name])
    for name in _MAPS:
        values[name] = dict(values[name])
    values["history"] = [dict(epoch) for epoch in values["history"]]
    known = {field.name for field in fields(Row)}
    return Row(**{name: value for name, value in values.items() if name in known})


def _name(status: str, key: str) -> str:
    return f"{FOLDER}/{status}/{key}.parquet"
