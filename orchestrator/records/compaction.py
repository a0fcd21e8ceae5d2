"""Compaction: loose rows into segments, small segments into larger ones.

One step reads files, puts one segment whole that holds all that counts of them, and then deletes exactly
these files; rows that a done row of the same segment outlives are left out, so are earlier ones that a later
one of equal rank follows. Killed before the put, a step has done nothing; killed after it, rows stand in two
files until the next merge, and a key is looked up, not counted. Nothing here takes a lock: of two compactors
one does its work in vain, since each deletes only what its own segment holds, and the same rows make the same
file. A segment that a step has written is never among those that it deletes.

Rows stay in the order in which they finished, so that those of one sweep are read together. Segments are
merged within tiers of size, each eight times the last, so that a row is rewritten a few times in its life;
those of :data:`FULL` bytes are left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from math import log
from typing import Any, TypeVar

import pyarrow as pa

from orchestrator.records.columns import Unreadable
from orchestrator.records.ledger import Ledger
from orchestrator.records.places import PRUNED, Place
from orchestrator.records.segments import Damaged, Gone
from orchestrator.records.table import Keyed, Table

R = TypeVar("R", bound=Keyed)

WAITING = 1000
"""Loose rows of a table from which a driver compacts it."""

BATCH = 2048
"""Loose rows that one step takes."""

TIER = 8
"""Segments of a tier that are merged, and the ratio of two tiers' sizes."""

SMALLEST, FULL = 2**16, 2**24
"""Bytes of the segments of the first tier at most, and of those that are merged no more at least."""


@dataclass(frozen=True)
class Compacted:
    """What a compaction did.

    Attributes:
        rows: loose files taken up. merged: segments merged into others. segments: there are now.
    """

    rows: int = 0
    merged: int = 0
    segments: int = 0

    def __add__(self, other: Compacted) -> Compacted:
        return Compacted(self.rows + other.rows, self.merged + other.merged, self.segments + other.segments)


def compact(ledger: Ledger, waiting: int = 1) -> Compacted:
    """Compact trials and evaluations.

    Args:
        ledger: whose. waiting: loose rows that a table must have; it is left alone where it has fewer.

    Raises:
        OSError: the store cannot be written; nothing is lost.
    """
    return compact_table(ledger, waiting) + compact_table(ledger.evaluations, waiting)


def tidy(ledger: Ledger) -> None:
    """Compact what has :data:`WAITING` loose rows; a store that refuses is left as it is, with a warning."""
    try:
        compact(ledger, WAITING)
    except OSError as error:
        logging.getLogger("perturb").warning("the ledger was not compacted: %s", error)


def compact_table(table: Table[Any], waiting: int = 1) -> Compacted:
    """Compact one table; see :func:`compact`."""
    loose = table.loose()
    taken = merged = 0
    if len(loose) >= waiting:
        for at in range(0, len(loose), BATCH):
            taken += take_up(table, [place for _, place in loose[at : at + BATCH]])
    if len(loose) >= waiting or waiting <= 1:
        while step := merge(table):
            merged += step
    return Compacted(taken, merged, len(table.segments.names()))


def take_up(table: Table[Any], places: list[Place]) -> int:
    """One step from loose rows to a segment; how many files it took up."""
    files: list[tuple[Place, pa.Table]] = []
    for place, content in zip(places, table.contents(places), strict=True):
        try:
            row = None if content is None else _uniform(table, table.table_of(content))
        except Unreadable as error:
            assert content is not None
            table.put_aside(place, content, str(error))
            continue
        if row is not None:
            files.append((place, row))
    if files:
        table.segments.put(_outlived(table, [row for _, row in files]))
    for place, _ in files:
        table.store.remove(f"{table.folder}/{place.file}")
    return len(files)


def merge(table: Table[Any]) -> int:
    """One step from a tier of segments to one; how many it merged."""
    sizes = table.store.sizes(table.segments.folder)
    names = _crowded({name: sizes[name] for name in table.segments.names() if name in sizes})
    parts: dict[str, pa.Table] = {}
    for name in names:
        try:
            part = _uniform(table, table.segments.whole(name))
        except (Gone, Damaged) as error:
            table.note(error)
            continue
        if part is not None:
            parts[name] = part
    if len(parts) < 2:
        return 0
    made = table.segments.put(_outlived(table, parts.values()))
    for name in parts:
        if name != made:
            table.segments.remove(name)
    return len(parts)


def _crowded(sizes: dict[str, int]) -> list[str]:
    """The segments of the first tier that has enough of them, up to :data:`FULL` bytes in all."""
    tiers: dict[int, list[str]] = {}
    for name, size in sorted(sizes.items(), key=lambda item: (item[1], item[0])):
        if size < FULL:
            tiers.setdefault(int(log(max(size / SMALLEST, 1), TIER)), []).append(name)
    for _, names in sorted(tiers.items()):
        if len(names) >= TIER:
            total = 0
            chosen = [name for name in names if (total := total + sizes[name]) <= 2 * FULL]
            if len(chosen) > 1:
                return chosen
    return []


def _uniform(table: Table[R], found: pa.Table) -> pa.Table | None:
    """With the columns of this version; None where a later one has added some, which it must compact."""
    schema = table.columns.schema
    if found.schema.equals(schema):
        return found
    if set(found.column_names) - set(schema.names):
        return None
    return table.columns.table(table.columns.rows(found))  # what is lacking, at its default


def _outlived(table: Table[Any], parts: Iterable[pa.Table]) -> pa.Table:
    """The rows that count, in the order in which they finished."""
    rows = pa.concat_tables(parts)
    names = rows.column_names
    rules = rows.column("rule").to_pylist() if "rule" in names else [""] * rows.num_rows
    keys, states, ends = (rows.column(name).to_pylist() for name in ("key", "status", "finished"))
    last: dict[tuple[str, str], int] = {}
    for number, (key, status, rule) in enumerate(zip(keys, states, rules, strict=True)):
        kind = "done" if status in table.done else f"{PRUNED} {rule}" if status == PRUNED else "other"
        before = last.setdefault((key, kind), number)
        if ends[number] > ends[before]:
            last[key, kind] = number
    done = {key for key, kind in last if kind == "done"}
    stay = [number for (key, kind), number in last.items() if kind == "done" or key not in done]
    return rows.take(sorted(stay, key=lambda number: (ends[number], keys[number], states[number])))
