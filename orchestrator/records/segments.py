"""Segments: immutable files of many rows, ``FOLDER/segments/<rows>-<digest>.parquet``.

The digest is of the footer, in which the checksum of everything else stands: a name says what is in the
file, and the same rows compacted twice are one file. A partial read verifies footer and pages.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import accumulate
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.records.columns import BROKEN, Unreadable, footer_digest, packed, said, unpacked
from orchestrator.records.damage import Damage, set_aside
from orchestrator.records.places import SUFFIX
from orchestrator.records.store import Store

INDEX = ("key", "status", "rule", "finished")
"""Columns that planning reads."""

AT_ONCE = 32
"""Row groups that are read at once."""

MOST = 1024
"""Indices of segments that are kept; a store has some dozens of segments."""

T = TypeVar("T")

_indices: dict[tuple[str, str], pa.Table] = {}
"""Index columns by store and file: segments never change."""


class Gone(LookupError):
    """A segment was merged into another since it was listed."""


class Damaged(LookupError):
    """A segment did not read; what does is in another now, and ``damage`` says what does not."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(str(damage))
        self.damage = damage


class Segments:
    """The segments of one table.

    Args:
        store: where they live. folder: of the table. schema: of its rows.
    """

    def __init__(self, store: Store, folder: str, schema: pa.Schema) -> None:
        self.store, self.folder, self.schema = store, f"{folder}/segments", schema

    def names(self) -> list[str]:
        """Their names. A listing that is not the same twice in a row was taken while they were merged."""
        last, found = None, self._listed()
        while found != last:
            last, found = found, self._listed()
        return found

    def _listed(self) -> list[str]:
        return [name for name in self.store.names(self.folder) if name.endswith(SUFFIX)]

    def put(self, table: pa.Table) -> str:
        """Write a segment; returns its name."""
        content = packed(table.cast(self.schema))  # inner names of maps come back from a file as others
        name = f"{table.num_rows}-{footer_digest(content)}{SUFFIX}"
        self.store.put(f"{self.folder}/{name}", content)
        return name

    def remove(self, name: str) -> None:
        """Delete a segment whose rows are in another one."""
        self.store.remove(f"{self.folder}/{name}")

    def index(self, name: str) -> pa.Table:
        """The :data:`INDEX` columns of a segment, kept in memory.

        Raises:
            Gone, Damaged: list again.
        """
        place = (self.store.location, f"{self.folder}/{name}")
        if place not in _indices:
            if len(_indices) > MOST:
                _indices.clear()
            _indices[place] = self._reading(name, _index_columns)
        return _indices[place]

    def find(self, key: str, name: str) -> list[int]:
        """The rows of a key in a segment."""
        same = pc.equal(self.index(name).column("key"), key)
        return list(pc.indices_nonzero(same).to_pylist())

    def where(self, name: str, column: str, value: str) -> list[str]:
        """Keys of the rows of a segment that have this value in a column.

        Raises:
            Gone, Damaged: list again.
        """
        table = self._reading(name, lambda file: file.read(columns=["key", column], use_threads=False))
        return list(table.filter(pc.equal(table.column(column), value)).column("key").to_pylist())

    def rows(self, name: str, rows: Iterable[int], without: Iterable[str] = ()) -> Iterator[pa.Table]:
        """Rows of a segment by their numbers, in their order in it, a few row groups at a time.

        Raises:
            Gone, Damaged: list again.
        """
        wanted, skipped = sorted(rows), set(without)
        ends = self._reading(name, _group_ends)
        groups: dict[int, list[int]] = {}
        for row in wanted:
            groups.setdefault(bisect_right(ends, row), []).append(row)
        order = list(groups)
        for at in range(0, len(order), AT_ONCE):
            chosen = order[at : at + AT_ONCE]
            table = self._reading(name, partial(_read_groups, groups=chosen, without=skipped))
            before, numbers = 0, []
            for group in chosen:
                numbers += [before + row - _start(ends, group) for row in groups[group]]
                before += ends[group] - _start(ends, group)
            yield table.take(numbers)

    def whole(self, name: str) -> pa.Table:
        """All of a segment, its checksum verified.

        Raises:
            Gone, Damaged: list again.
        """
        content = self._content(name)
        try:
            self._named_so(name, content)
            return unpacked(content).read(use_threads=False)
        except BROKEN as error:
            raise Damaged(self.salvage(name, content, said(error))) from error

    def salvage(
        self, name: str, content: bytes, problem: str, good: Callable[[pa.Table], pa.Table] | None = None
    ) -> Damage:
        """Save the row groups that still read into a new segment, and set the old one aside.

        Args:
            name: of the segment. content: of its file. problem: what is wrong with it.
            good: chooses the rows to save of a table; None saves all that read.
        """
        told, _, _ = name.partition("-")
        saved = [table for table in _sound_groups(content) if table.schema.equals(self.schema)]
        if good is not None:
            saved = [good(table) for table in saved]
        rows = sum(table.num_rows for table in saved)
        try:
            if rows:
                self.put(pa.concat_tables(saved))
        except OSError:  # the damaged file stays where it is, for a time when the store can be written
            return Damage(f"{self.folder}/{name}", problem, "", None)
        lost = int(told) - rows if told.isdigit() else None
        return set_aside(self.store, f"{self.folder}/{name}", content, problem, lost)

    def _reading(self, name: str, read: Callable[[pq.ParquetFile], T]) -> T:
        path = self.store.path(f"{self.folder}/{name}")
        try:
            with self.store.filesystem.open_input_file(path) as raw:
                if raw.size() < 12:
                    raise Unreadable("it is cut short")
                raw.seek(raw.size() - 8)
                length = 8 + int.from_bytes(raw.read(4), "little")
                raw.seek(max(0, raw.size() - length))
                self._named_so(name, raw.read())
                raw.seek(0)
                return read(pq.ParquetFile(raw, page_checksum_verification=True))
        except FileNotFoundError:
            raise Gone(name) from None
        except BROKEN as error:
            return self._second_look(name, error, read)

    def _second_look(self, name: str, error: Exception, read: Callable[[pq.ParquetFile], T]) -> T:
        """Read from memory what did not read: a disk's error is not the file's."""
        content = self._content(name)
        try:
            self._named_so(name, content)
            return read(unpacked(content))
        except BROKEN:
            raise Damaged(self.salvage(name, content, said(error))) from error

    def _content(self, name: str) -> bytes:
        content = self.store.get(f"{self.folder}/{name}")
        if content is None:
            raise Gone(name)
        return content

    def _named_so(self, name: str, content: bytes) -> None:
        if footer_digest(content) != name.removesuffix(SUFFIX).rpartition("-")[2]:
            raise Unreadable("its footer is another")


def _index_columns(file: pq.ParquetFile) -> pa.Table:
    there = [name for name in INDEX if name in file.schema_arrow.names]
    return file.read(columns=there, use_threads=False)


def _group_ends(file: pq.ParquetFile) -> list[int]:
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    return list(accumulate(sizes))


def _read_groups(file: pq.ParquetFile, groups: list[int], without: set[str]) -> pa.Table:
    names = [name for name in file.schema_arrow.names if name not in without]
    return file.read_row_groups(groups, columns=names, use_threads=False)


def _start(ends: list[int], group: int) -> int:
    return ends[group - 1] if group else 0


def _sound_groups(content: bytes) -> Iterator[pa.Table]:
    """The row groups of a file in memory that read."""
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
    except BROKEN:
        return
    for group in range(file.metadata.num_row_groups):
        try:
            table = file.read_row_group(group, use_threads=False)
            table.validate(full=True)
        except BROKEN:
            continue
        yield table
