"""The ledger as one flat table for other tools: a row a trial, or a row an epoch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from engine.errors import InputError
from engine.files import write_atomic
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row

AT_ONCE = 1000
"""Rows that are held at once."""

Attach = Callable[[list[Row]], list[Row]]


def export(
    ledger: Ledger, path: Path, keys: Iterable[str], history: bool = False, attach: Attach = list
) -> int:
    """Write trials as a Parquet or CSV file, whole or not at all; returns the number of lines.

    Args:
        ledger, keys: which trials; those that it does not hold are passed over.
        path: of the file; its suffix says the format. history: a line for each epoch in place of each trial.
        attach: adds the evaluations whose metrics shall be columns, as ``label.metric``.

    Raises:
        InputError: another suffix, a folder that is not there, or no trial to export.
    """
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".csv"):
        raise InputError("file", path.name, "a name that ends in .parquet or .csv")
    if not path.parent.is_dir() or path.is_dir():
        raise InputError("file", str(path), "a file in a folder that exists")
    without = ("correct",) if history else ("correct", "history")
    parts = []
    wanted = list(keys)
    for at in range(0, len(wanted), AT_ONCE):
        rows = ledger.read(wanted[at : at + AT_ONCE], rule=None, without=without)
        if rows:
            epochs = (line for row in rows for line in _epochs(row))
            parts.append(table_of(epochs if history else map(flat, attach(rows))))
    lines = sum(int(part.num_rows) for part in parts)
    if not lines:
        raise InputError("ledger", ledger.store.location, "a ledger that holds a trial to export")
    table = joined(parts)
    sink = pa.BufferOutputStream()
    if suffix == ".parquet":
        pq.write_table(table, sink, compression="zstd")
    else:
        pacsv.write_csv(table, sink)
    write_atomic(path, sink.getvalue().to_pybytes())
    return lines


def flat(row: Row) -> dict[str, Any]:
    """A trial as one line: settings as ``trial.method.epsilon``, metrics as ``best.val.accuracy``.

    A list is its JSON text. A radius or probability given apart for input and weights has a column for each,
    and one for both where they are equal.
    """
    line: dict[str, Any] = {"key": row.key, "cell": row.cell, "seed": row.seed, "status": row.status}
    line |= _flattened(row.trial, "trial")
    line |= {f"best.{name}": value for name, value in row.best.items()}
    line |= {f"last.{name}": value for name, value in row.last.items()}
    line |= {**row.also, "best_epoch": row.best_epoch, "failure": row.failure, "error": row.error}
    for label, one in row.evaluations.items():
        line |= {f"{label}.{name}": value for name, value in one.metrics.items()}
    line |= {f"timings.{name}": value for name, value in row.timings.items()}
    line |= {f"versions.{name}": value for name, value in row.versions.items()}
    for name in ("examples", "device", "workers", "git_commit", "data_hash", "contract", "host", "finished",
                 "memory", "attempts", "rule"):  # fmt: skip
        line[name] = getattr(row, name)
    return line | {"lineage": json.dumps(row.lineage, sort_keys=True) if row.lineage else None}


def table_of(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Lines as columns; one that a line lacks is null there."""
    lines = list(rows)
    names = dict.fromkeys(name for line in lines for name in line)
    return pa.table({name: column([line.get(name) for line in lines]) for name in names})


def column(values: list[Any]) -> pa.Array:
    """Values of one type as they are; numbers of several as doubles; anything else as text.

    >>> column([1, 0.5, None]).type, column([1, "a"]).to_pylist(), column([True, None]).type
    (DataType(double), ['1', 'a'], DataType(bool))
    """
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {int, float} and len(kinds) == 2:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if len(kinds) <= 1:
        return pa.array(values)
    return pa.array([_text(value) for value in values], pa.string())


def joined(parts: Sequence[pa.Table]) -> pa.Table:
    """Tables below each other, each column of a type that holds all of its values."""
    names = dict.fromkeys(name for part in parts for name in part.column_names)
    columns = {}
    for name in names:
        kinds = {part.schema.field(name).type for part in parts if name in part.column_names} - {pa.null()}
        kind = _common(kinds)
        chunks = [_cast(part.column(name), kind) if name in part.column_names else pa.nulls(len(part), kind)
                  for part in parts]  # fmt: skip
        columns[name] = pa.chunked_array(
            [c for chunk in chunks for c in getattr(chunk, "chunks", [chunk])], kind
        )
    return pa.table(columns)


def _common(kinds: set[pa.DataType]) -> pa.DataType:
    if len(kinds) <= 1:
        return next(iter(kinds), pa.null())
    return pa.float64() if kinds <= {pa.int64(), pa.float64()} else pa.string()


def _cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if kind == pa.string() and values.type != kind:
        return pa.chunked_array([[_text(value) for value in values.to_pylist()]], kind)
    return values.cast(kind)


def _epochs(row: Row) -> Iterator[dict[str, Any]]:
    head = {"key": row.key, "cell": row.cell, "seed": row.seed, "status": row.status}
    return ({**head, **epoch, "epoch": int(epoch["epoch"])} for epoch in row.history)


def _flattened(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {name: json.dumps(value) if isinstance(value, (list, tuple)) else value}
    line: dict[str, Any] = {}
    if set(value) == {"input", "weight"} and value["input"] == value["weight"]:
        line |= _flattened(value["input"], name) if not isinstance(value["input"], Mapping) else {}
    for inner, held in value.items():
        line |= _flattened(held, f"{name}.{inner}")
    return line


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
