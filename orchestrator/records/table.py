"""A table of the store: one Parquet file a row, ``FOLDER/<status>/<key>.parquet``.

The status stands in the folder's name, so that planning lists names and reads no file. A row is put
whole: a process killed at any moment leaves either no row or all of it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.records.store import Store


class Keyed(Protocol):
    """A row: a dataclass with at least these."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def key(self) -> str:
        """Names the row."""
        ...

    @property
    def status(self) -> Any:
        """How what it records ended."""
        ...


R = TypeVar("R", bound=Keyed)

NUMBERS = pa.map_(pa.string(), pa.float64())
TEXTS = pa.map_(pa.string(), pa.string())
BYTES = pa.map_(pa.string(), pa.binary())


class Table(Generic[R]):
    """Rows of one kind by their keys.

    Args:
        store: where they live.

    Attributes:
        folder, row, schema: of the kind. json: columns that hold JSON texts.
        statuses: that a row may have. done: those that no other status replaces.
    """

    folder: ClassVar[str]
    row: ClassVar[type[Any]]
    schema: ClassVar[pa.Schema]
    json: ClassVar[tuple[str, ...]]
    statuses: ClassVar[tuple[str, ...]]
    done: ClassVar[tuple[str, ...]]

    def __init__(self, store: Store) -> None:
        self.store = store

    def index(self) -> dict[str, Any]:
        """Status of every key, from the names of files alone; a done status wins over another."""
        found: dict[str, Any] = {}
        for status in sorted(self.statuses, key=lambda status: status in self.done):
            for name in self.store.names(f"{self.folder}/{status}"):
                if name.endswith(".parquet"):
                    found[name.removesuffix(".parquet")] = status
        return found

    def write(self, row: R) -> None:
        """Store a row, in place of an earlier one of the same key that was not done.

        What is done stays done: a failure that is told later, by a worker that was retried or by another
        sweep, is dropped.
        """
        if row.status not in self.done and any(self.store.exists(self._name(s, row.key)) for s in self.done):
            return
        self.store.put(self._name(row.status, row.key), self.to_parquet(row))
        for status in self.statuses:
            if status != row.status:
                self.store.remove(self._name(status, row.key))

    def read(
        self, keys: Iterable[str], index: Mapping[str, Any] | None = None, *, without: Iterable[str] = ()
    ) -> list[R]:
        """The rows of these keys, in their order; keys without one are passed over.

        Columns in ``without`` are not read, and stay at their defaults.
        """
        index = self.index() if index is None else index
        names = [self._name(index[key], key) for key in keys if key in index]
        with ThreadPoolExecutor(8) as pool:
            contents = list(pool.map(self.store.get, names))
        columns = [name for name in self.schema.names if name not in set(without)]
        return [self.from_parquet(content, columns) for content in contents if content is not None]

    def find(self, prefix: str) -> list[str]:
        """Keys that begin with these digits."""
        return sorted(key for key in self.index() if key.startswith(prefix))

    @classmethod
    def to_parquet(cls, row: R) -> bytes:
        """A row as a Parquet file."""
        values = {name: _column(getattr(row, name), cls._kind(name)) for name in cls.schema.names}
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([values], cls.schema), buffer, compression="zstd")
        return buffer.getvalue()

    @classmethod
    def from_parquet(cls, content: bytes, columns: Sequence[str] | None = None) -> R:
        """The row that :meth:`to_parquet` wrote; columns that a later version added are passed over."""
        wanted = None if columns is None else list(columns)
        (values,) = pq.ParquetFile(io.BytesIO(content)).read(wanted, use_threads=False).to_pylist()
        known = {field.name for field in fields(cls.row)} & set(cls.schema.names)
        found: R = cls.row(**{n: _value(v, cls._kind(n)) for n, v in values.items() if n in known})
        return found

    @classmethod
    def _kind(cls, name: str) -> str:
        kind = cls.schema.field(name).type
        if name in cls.json:
            return "json"
        if pa.types.is_map(kind):
            return "map"
        return "maps" if pa.types.is_list(kind) else ""

    @classmethod
    def _name(cls, status: str, key: str) -> str:
        return f"{cls.folder}/{status}/{key}.parquet"


def _column(value: Any, kind: str) -> Any:
    """A field as its column holds it: maps as pairs."""
    if kind == "json":
        return json.dumps(value, sort_keys=True)
    if kind == "map":
        return list(value.items())
    return [list(one.items()) for one in value] if kind == "maps" else value


def _value(value: Any, kind: str) -> Any:
    if kind == "json":
        return json.loads(value)
    if kind == "map":
        return dict(value)
    return [dict(one) for one in value] if kind == "maps" else value
