"""Rows as columns, and columns as a Parquet file that says of every bit whether it is as it was written.

Pages carry checksums, which a partial read verifies. The footer, which no page covers, holds a SHA-256 of the
whole file taken with the digits of the checksum itself at zero.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

R = TypeVar("R")

NUMBERS = pa.map_(pa.string(), pa.float64())
TEXTS = pa.map_(pa.string(), pa.string())
BYTES = pa.map_(pa.string(), pa.binary())

GROUP = 128
"""Rows of a row group: what is read, and what is lost to a damaged page, at once."""

BLANK = b"0" * 64
CHECKSUM = b"checksum"

BROKEN = (pa.ArrowException, OSError, ValueError, TypeError, LookupError)
"""What reading a damaged file from memory raises."""


class Unreadable(ValueError):
    """A file of the ledger is not as it was written; its text says how."""


@dataclass(frozen=True)
class Columns(Generic[R]):
    """The columns of a kind of row.

    Args:
        row: its dataclass. schema: its columns; a map is a dict, a list of maps a list of dicts.
        json: columns that hold JSON texts.
    """

    row: type[R]
    schema: pa.Schema
    json: tuple[str, ...]

    def table(self, rows: Iterable[R]) -> pa.Table:
        """Rows as an Arrow table."""
        kinds = {name: self._kind(name) for name in self.schema.names}
        values = [{name: _put(getattr(row, name), kind) for name, kind in kinds.items()} for row in rows]
        return pa.Table.from_pylist(values, self.schema)

    def rows(self, table: pa.Table) -> list[R]:
        """The rows of a table; columns that it lacks are at their defaults, others are passed over."""
        known = {field.name for field in fields(self.row)} & set(self.schema.names)  # type: ignore[arg-type]
        names = [name for name in table.column_names if name in known]
        columns = [_taken(table.column(name), self._kind(name)) for name in names]
        return [self.row(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]

    def _kind(self, name: str) -> str:
        kind = self.schema.field(name).type
        if name in self.json:
            return "json"
        if pa.types.is_map(kind):
            return "map"
        return "maps" if pa.types.is_list(kind) else ""


def packed(table: pa.Table) -> bytes:
    """A table as a Parquet file with its checksums."""
    table = table.replace_schema_metadata(None)  # the checksum of the file that it was read from
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table, row_group_size=GROUP)
        writer.add_key_value_metadata({CHECKSUM: BLANK})
    content = sink.getvalue()
    digest = hashlib.sha256(content).hexdigest().encode()
    place = content.rindex(BLANK)
    return content[:place] + digest + content[place + len(BLANK) :]


def unpacked(content: bytes) -> pq.ParquetFile:
    """A Parquet file whose bits are as they were written, as far as its footer says what they were.

    It is read without Arrow's threads, here and in segments: where the bytes come through Python, a process
    that has used them aborts or hangs at its end now and then (Arrow issues 34314 and 50482).

    Raises:
        Unreadable: it is cut short, or its checksum is another.
    """
    if not content:
        raise Unreadable("it is empty")
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        told = (file.metadata.metadata or {}).get(CHECKSUM)
    except BROKEN as error:
        raise Unreadable(said(error)) from error
    if told is not None:  # files of the first version have none
        place = content.rfind(told)
        blank = content[:place] + BLANK + content[place + len(told) :]
        if place < 0 or hashlib.sha256(blank).hexdigest().encode() != told:
            raise Unreadable("its checksum is another")
    return file


def footer_digest(content: bytes) -> str:
    """Digest of a file's footer, in which the checksum of all the rest stands."""
    length = 8 + int.from_bytes(content[-8:-4], "little")
    return hashlib.sha256(content[-length:]).hexdigest()[:32]


def said(error: BaseException) -> str:
    """What a library says of a damaged file, in one line."""
    return " ".join(str(error).split())[:200].rstrip(" .") or type(error).__name__


def _put(value: Any, kind: str) -> Any:
    if kind == "json":
        return json.dumps(value, sort_keys=True)
    if kind == "map":
        return list(value.items())
    return [list(one.items()) for one in value] if kind == "maps" else value


def _taken(column: pa.ChunkedArray, kind: str) -> list[Any]:
    """The values of a column, maps flattened first: a row at a time takes Arrow three times as long."""
    if kind == "json":
        return [json.loads(text) for text in column.to_pylist()]
    if not kind:
        return list(column.to_pylist())
    found: list[Any] = []
    for chunk in column.chunks:
        found += _lists(chunk, _dicts(chunk.values)) if kind == "maps" else _dicts(chunk)
    return found


def _dicts(maps: pa.MapArray) -> list[dict[str, Any]]:
    keys, items = maps.keys.to_pylist(), maps.items.to_pylist()
    return [dict(zip(keys[a:b], items[a:b], strict=True)) for a, b in pairwise(maps.offsets.to_pylist())]


def _lists(array: pa.ListArray, values: Sequence[Any]) -> list[list[Any]]:
    return [list(values[a:b]) for a, b in pairwise(array.offsets.to_pylist())]
