"""Rows read from wherever they stand, while files come and go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.records.columns import Unreadable
from orchestrator.records.places import Place, candidates
from orchestrator.records.segments import Damaged, Gone

if TYPE_CHECKING:
    from orchestrator.records.table import Table

TRIES = 100
"""How often a table is listed again because files went away, before that is an error."""


def gathered(table: Table[Any], keys: set[str], rule: str | None, without: tuple[str, ...]) -> dict[str, Any]:
    """The row that counts of each key that has one.

    Of a key of which a file was gone or damaged, all is listed and read again.

    Args:
        table: where. keys: whose. rule: as of :meth:`Table.index`.
        without: columns that are not wanted.
    """
    found: dict[str, Any] = {}
    left = keys
    for _ in range(TRIES):
        places = table.places() if left else {}
        wanted = {key: candidates(places[key], table.done, rule) for key in left if key in places}
        rows, gone = _read(table, wanted, without)
        for row in rows:
            known = found.get(row.key)
            if row.key not in gone and (known is None or row.finished > known.finished):
                found[row.key] = row
        if not gone:
            return found
        left = gone
    raise table.restless()


def _read(
    table: Table[Any], wanted: Mapping[str, list[Place]], without: tuple[str, ...]
) -> tuple[list[Any], set[str]]:
    """Rows, loose ones first, and the keys of which a file was gone or damaged."""
    loose = [(key, place) for key, places in wanted.items() for place in places if place.loose]
    rows, gone = [], set()
    for (key, place), content in zip(loose, table.contents(p for _, p in loose), strict=True):
        row = None if content is None else _row(table, place, content)
        if row is None:
            gone.add(key)
        else:
            rows.append(row)
    compacted: dict[str, dict[int, str]] = {}
    for key, places in wanted.items():
        for place in places:
            if not place.loose:
                compacted.setdefault(place.file.removeprefix("segments/"), {})[place.row] = key
    for name, keys in compacted.items():
        try:
            for part in table.segments.rows(name, keys, without):
                rows += table.columns.rows(part)
        except (Gone, Damaged) as error:
            table.note(error)
            gone |= set(keys.values())
    return rows, gone


def _row(table: Table[Any], place: Place, content: bytes) -> Any:
    """A loose row; None for one that is set aside."""
    try:
        return table.from_parquet(content)
    except Unreadable as error:
        table.put_aside(place, content, str(error))
        return None
