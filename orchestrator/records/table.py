"""A table of the store: rows by key, loose in files of their own or many in a segment.

FOLDER/
  <status>/<key>.parquet            a loose row, as a worker writes it
  pruned/<key>.<rule>.parquet       a loose row of a trial that early stopping ended, with its rule's digest
  failed/<key>.<digest>.parquet     a loose row that another may follow
  segments/<rows>-<digest>.parquet  many rows (see :mod:`orchestrator.records.segments`)

Names say the keys and statuses of loose rows, four columns those of segments: planning reads no row. Every
file is put whole: a process killed at any moment leaves either no row or all of it. Compaction
(:mod:`orchestrator.records.compaction`) moves rows from loose files into segments, and from small segments
into larger ones. It deletes a file only when all that counts of it stands in a segment, so a row may be
found twice and never not at all, if loose rows are listed before segments, and all again when a listed file
is gone.

Of several rows of one key a done one counts before a pruned one, and that before a failed one; of equals the
one that finished last. The first done row stays: a later one is dropped, unless it is told to replace it. A
pruned row counts only where planning asks by the same rule; under another the key is as if it were absent.

A file that is not as it was written (cut short, empty, a bit flipped) is set aside under ``ledger/damaged``,
is named in the log and in :attr:`Table.damaged`, and its rows count as absent.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import pyarrow as pa

from orchestrator.records.columns import BROKEN, Columns, Unreadable, packed, said, unpacked
from orchestrator.records.damage import Damage, set_aside
from orchestrator.records.gather import TRIES, gathered
from orchestrator.records.places import PRUNED, Place, candidates, loose_name, parsed
from orchestrator.records.segments import Damaged, Gone, Segments
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

    @property
    def finished(self) -> str:
        """When, ISO 8601."""
        ...


R = TypeVar("R", bound=Keyed)
T = TypeVar("T")

Places = dict[str, tuple[Place, ...]]


class Table(Generic[R]):
    """Rows of one kind by their keys.

    Args:
        store: where they live.

    Attributes:
        folder: in the store. columns: of the kind of row.
        statuses: that a row may have. done: those that no other status replaces.
        damaged: the files that this object found damaged and set aside.
    """

    folder: ClassVar[str]
    columns: ClassVar[Columns[Any]]
    statuses: ClassVar[tuple[str, ...]]
    done: ClassVar[tuple[str, ...]]

    def __init__(self, store: Store) -> None:
        self.store = store
        self.segments = Segments(store, self.folder, self.columns.schema)
        self.damaged: list[Damage] = []
        self._compacted: tuple[tuple[str, ...], Places] = ((), {})

    def index(self, rule: str | None = "") -> dict[str, Any]:
        """Status of every key; no row is read.

        Args:
            rule: digest of the early stopping that is planned with, empty for none: a row that was pruned
                under another counts as absent. None counts pruned rows of all rules.
        """
        found: dict[str, Any] = {}
        unclear = []
        for key, places in self.places().items():
            if len(places) == 1 and places[0].status != PRUNED:
                found[key] = places[0].status
                continue
            chosen = candidates(places, self.done, rule)
            if len({place.status for place in chosen}) > 1:
                unclear.append(key)
            if chosen:
                found[key] = chosen[0].status
        if unclear:
            found |= {row.key: row.status for row in self.read(unclear, rule=rule)}
        return found

    def write(self, row: R, replace: bool = False) -> bool:
        """Store a row, in place of an earlier one of the same key that was not done; whether it was stored.

        What is done stays done: a failure that is told later, by a worker that was retried or by another
        sweep, is dropped, and so is a second done row. A pruned row stays as the first of its rule.

        Args:
            row: what. replace: let a done row replace another.

        Raises:
            OSError: the store cannot be written; it names the file.
        """
        done, rule = row.status in self.done, str(getattr(row, "rule", ""))
        if not (done and replace) and self._stands(row.key, row.status, rule):
            return False
        content = self.to_parquet(row)
        again = row.status not in (*self.done, PRUNED) or replace
        name = loose_name(row.status, row.key, rule, content if again else None)
        self.store.put(f"{self.folder}/{name}", content)
        if row.status != PRUNED:
            for status in self.statuses:
                if status not in self.done and (done or status == row.status):
                    self._clear(status, row.key, name)
        return True

    def is_done(self, key: str, rule: str = "") -> bool:
        """Whether a done row of a key is there and reads, or one that was pruned under this rule.

        A few look-ups by name, for one key; :meth:`index` is for many.
        """
        return self._stands(key, PRUNED if rule else self.done[0], rule)

    def read(
        self,
        keys: Iterable[str],
        index: Mapping[str, Any] | None = None,
        rule: str | None = "",
        without: Iterable[str] = (),
    ) -> list[R]:
        """The rows of these keys, in their order; keys without one are passed over.

        What does not read is set aside, and added to :attr:`damaged`.

        Args:
            keys: whose. index: keys to keep to; None for all. rule: as of :meth:`index`.
            without: columns that are not wanted, and stay at their defaults.
        """
        keys = [key for key in keys if index is None or key in index]
        found: dict[str, R] = gathered(self, set(keys), rule, tuple(without))
        return [found[key] for key in keys if key in found]

    def one(self, key: str, rule: str = "") -> R | None:
        """The row of one key, None where it has none; nothing is listed for one that has just been done."""
        for status in self.done:
            content = self.store.get(f"{self.folder}/{loose_name(status, key)}")
            with suppress(Unreadable):  # set aside below
                if content is not None:
                    return self.from_parquet(content)
        return next(iter(self.read([key], rule=rule)), None)

    def find(self, prefix: str) -> list[str]:
        """Keys that begin with these digits, pruned ones included."""
        return sorted(key for key in self.places() if key.startswith(prefix))

    def where(self, column: str, value: str) -> list[str]:
        """Keys of the rows in segments that have this value in a column."""
        found = self._over_segments(lambda name: self.segments.where(name, column, value))
        return [key for keys in found.values() for key in keys]

    def places(self) -> Places:
        """Where the rows of every key are: loose ones as listed now, then those of segments."""
        loose = self.loose()
        found = dict(self._in_segments())
        for key, place in loose:
            found[key] = (*found.get(key, ()), place)
        return found

    def loose(self) -> list[tuple[str, Place]]:
        """Key and place of the loose rows, of those that are not done first: they go when one is done."""
        found = []
        for status in sorted(self.statuses, key=lambda status: status in self.done):
            names = self.store.names(f"{self.folder}/{status}")
            found += [one for name in names if (one := parsed(status, name)) is not None]
        bad = self._bad()
        return [one for one in found if one[1].file not in bad] if bad else found

    @classmethod
    def to_parquet(cls, row: R) -> bytes:
        """A row as a Parquet file."""
        return packed(cls.columns.table([row]))

    @classmethod
    def from_parquet(cls, content: bytes) -> R:
        """The row that :meth:`to_parquet` wrote; columns that a later version added are passed over.

        Raises:
            Unreadable: the file is damaged.
        """
        table = cls.table_of(content)
        try:
            (row,) = cls.columns.rows(table)
        except BROKEN as error:
            raise Unreadable(said(error)) from error
        found: R = row
        return found

    @classmethod
    def table_of(cls, content: bytes) -> pa.Table:
        """A loose row's file as an Arrow table of one row.

        Raises:
            Unreadable: the file is damaged.
        """
        try:
            table = unpacked(content).read(use_threads=False)
        except BROKEN as error:
            raise Unreadable(said(error)) from error
        if table.num_rows != 1:
            raise Unreadable(f"it holds {table.num_rows} rows in place of one")
        return table

    def contents(self, places: Iterable[Place]) -> list[bytes | None]:
        """The files of loose rows; None for one that is gone."""
        names = [f"{self.folder}/{place.file}" for place in places]
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(self.store.get, names))

    def put_aside(self, place: Place, content: bytes, problem: str) -> None:
        """Set a loose row's file aside."""
        self.damaged.append(set_aside(self.store, f"{self.folder}/{place.file}", content, problem))

    def note(self, error: Gone | Damaged) -> None:
        """Remember what a segment lost."""
        if isinstance(error, Damaged):
            self.damaged.append(error.damage)

    def restless(self) -> OSError:
        """What a reader raises that is never done."""
        return OSError(errno.EBUSY, "files go away faster than they are read", self.store.path(self.folder))

    def _in_segments(self) -> Places:
        indices = self._over_segments(self.segments.index)
        if tuple(indices) != self._compacted[0]:
            found: Places = {}
            for name, index in indices.items():
                for key, place in _places(name, index):
                    found[key] = (*found[key], place) if key in found else (place,)
            self._compacted = tuple(indices), found
        return self._compacted[1]

    def _stands(self, key: str, status: str, rule: str) -> bool:
        """Whether a row of the key is there, and reads, that one of this status does not replace."""
        first = [loose_name(done, key) for done in self.done]
        if status == PRUNED:
            first.append(loose_name(PRUNED, key, rule))
        if not any(self.store.exists(f"{self.folder}/{name}") for name in first):
            compacted = self._compacted_rows(key)
            if not any(s in self.done or (s == PRUNED == status and r == rule) for s, r in compacted):
                return False
        held = self.read([key], rule=rule if status == PRUNED else "")
        return bool(held) and (held[0].status in self.done or status == held[0].status == PRUNED)

    def _compacted_rows(self, key: str) -> list[tuple[str, str]]:
        """Status and rule of the rows of a key that are in segments."""

        def rows_in(name: str) -> list[tuple[str, str]]:
            index = self.segments.index(name)
            slices = [index.slice(number, 1) for number in self.segments.find(key, name)]
            return [(place.status, place.rule) for one in slices for _, place in _places(name, one)]

        return [row for rows in self._over_segments(rows_in).values() for row in rows]

    def _over_segments(self, read: Callable[[str], T]) -> dict[str, T]:
        """What is read of each segment, by its name; all is read again where they are merged meanwhile."""
        for _ in range(TRIES):
            bad = self._bad()
            names = [name for name in self.segments.names() if f"segments/{name}" not in bad]
            try:
                return {name: read(name) for name in names}
            except (Gone, Damaged) as error:
                self.note(error)
        raise self.restless()

    def _clear(self, status: str, key: str, but: str) -> None:
        """Remove the loose rows of a key with a status, but one."""
        for name in self.store.names(f"{self.folder}/{status}"):
            if name.startswith(key) and f"{status}/{name}" != but:
                known = parsed(status, name)
                if known is not None and known[0] == key:
                    self.store.remove(f"{self.folder}/{status}/{name}")

    def _bad(self) -> set[str]:
        """Damaged files that stayed where they are, since the store takes no writes."""
        return {one.file.removeprefix(f"{self.folder}/") for one in self.damaged if not one.kept}


def _places(name: str, index: pa.Table) -> Iterable[tuple[str, Place]]:
    """Key and place of the rows of a segment from its index."""
    known = {text: text for text in ("", *index.column("status").unique().to_pylist())}
    count = index.num_rows
    status = [known[s] for s in index.column("status").to_pylist()]
    rule = index.column("rule").to_pylist() if "rule" in index.column_names else [""] * count
    finished = index.column("finished").to_pylist()
    places = map(Place, status, rule, finished, [f"segments/{name}"] * count, range(count))
    return zip(index.column("key").to_pylist(), places, strict=True)
