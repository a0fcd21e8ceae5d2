from __future__ import annotations

import io
import random
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

from orchestrator.records.columns import GROUP, Unreadable, footer_digest, packed, unpacked
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row

COLUMNS = Ledger.columns


def test_rows_survive_whole_sliced_and_picked(make_row: Callable[..., Row]) -> None:
    rows = [
        make_row(
            f"c{i}", epochs=i % 4, correct={"best": bytes([i % 256])} if i % 2 else {}, lineage=[{"a": i}]
        )
        for i in range(2 * GROUP + 3)
    ]
    table = unpacked(packed(COLUMNS.table(rows))).read()
    assert COLUMNS.rows(table) == rows
    assert COLUMNS.rows(table.slice(GROUP - 2, 5)) == rows[GROUP - 2 : GROUP + 3]
    assert COLUMNS.rows(table.take([200, 1, 0])) == [rows[200], rows[1], rows[0]]
    assert COLUMNS.rows(table.slice(0, 0)) == []


def test_any_parquet_reader_reads_it(make_row: Callable[..., Row]) -> None:
    content = Ledger.to_parquet(make_row(seed=3))
    assert pq.read_table(io.BytesIO(content)).column("seed").to_pylist() == [3]


def test_every_flipped_bit_is_found(make_row: Callable[..., Row]) -> None:
    """But those of the checksum's own name, without which a file counts as one of the first version."""
    content, pick = Ledger.to_parquet(make_row()), random.Random(0)
    for place in pick.sample(range(len(content)), 1500):
        flipped = bytearray(content)
        flipped[place] ^= 1 << pick.randrange(8)
        if abs(place - content.index(b"checksum")) < 12:
            continue
        with pytest.raises(Unreadable) as raised:
            Ledger.from_parquet(bytes(flipped))
        assert "\n" not in str(raised.value)
        assert str(raised.value)


@pytest.mark.parametrize("keep", [0, 1, 4, 8, 12, 100, 5000, -1])
def test_a_file_cut_short_is_found(make_row: Callable[..., Row], keep: int) -> None:
    content = Ledger.to_parquet(make_row())
    with pytest.raises(Unreadable):
        Ledger.from_parquet(content[:keep])


def test_a_file_with_no_row_is_found(make_row: Callable[..., Row]) -> None:
    with pytest.raises(Unreadable, match="0 rows"):
        Ledger.from_parquet(packed(COLUMNS.table([])))


def test_the_footer_names_the_content(make_row: Callable[..., Row]) -> None:
    first, again = (packed(COLUMNS.table([make_row(seed=1)])) for _ in range(2))
    other = packed(COLUMNS.table([make_row(seed=2)]))
    assert footer_digest(first) == footer_digest(again) != footer_digest(other)
