"""Damaged files, stores that refuse, pruned rows; the rest is in test_ledger.py and test_compaction.py."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.records.columns import GROUP
from orchestrator.records.compaction import compact
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from tests.orchestrator.records.stores import FaultyStore, flipped, page_of, real_evaluation, real_row

Make = Callable[..., Row]

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[: len(content) // 2],
    "no Parquet": lambda content: b"x" * 500,
    "a bit of a page": lambda content: flipped(content, 30),
    "a bit of the footer": lambda content: flipped(content, len(content) - 200),
    "a name in the footer": lambda content: content.replace(b"examples", b"exampled"),
    "its last byte": lambda content: content[:-1] + b"x",
}


@pytest.fixture(params=["local", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    return Ledger(Store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}"))


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_row_is_named_and_set_aside(
    ledger: Ledger, make_row: Make, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [make_row("c0"), make_row("c1")]
    for row in rows:
        ledger.write(row)
    name = "ledger/trials/completed/c0-0.parquet"
    bad = DAMAGES[kind](ledger.store.get(name) or b"")
    ledger.store.put(name, bad)
    with caplog.at_level(logging.WARNING, "perturb"):
        assert ledger.read([row.key for row in rows]) == rows[1:]
    (damage,) = ledger.damaged
    assert [record.message for record in caplog.records] == [str(damage)]
    assert str(damage).startswith(f"{name}: damaged: ")
    assert "\n" not in str(damage)
    assert ledger.store.get(damage.kept) == bad, "it is kept"
    assert damage.kept.startswith("ledger/damaged/trials/completed/c0-0.")
    assert ledger.index() == {"c1-0": "completed"}, "it is run again"
    assert ledger.write(rows[0])
    assert ledger.read([row.key for row in rows]) == rows


def test_a_damaged_done_row_gives_way_to_a_new_one(ledger: Ledger, make_row: Make) -> None:
    """Also where nobody has read it since."""
    ledger.write(make_row())
    ledger.store.put("ledger/trials/completed/c0-0.parquet", b"")
    assert ledger.write(make_row(value=0.8))
    assert ledger.read(["c0-0"]) == [make_row(value=0.8)]


def test_behind_a_damaged_row_an_earlier_one_counts(ledger: Ledger, make_row: Make) -> None:
    ledger.write(make_row(status="failed", error="boom"))
    ledger.store.put("ledger/trials/completed/c0-0.parquet", b"PAR1")
    assert [row.error for row in ledger.read(["c0-0"])] == ["boom"]
    assert ledger.index() == {"c0-0": "failed"}


@pytest.mark.parametrize("kind", DAMAGES)
def test_of_a_damaged_segment_what_reads_is_saved(ledger: Ledger, make_row: Make, kind: str) -> None:
    rows = [make_row(f"c{i:03d}", finished=f"{i:04d}") for i in range(3 * GROUP)]
    ledger.segments.put(Ledger.columns.table(rows))
    (name,) = ledger.segments.names()
    content = ledger.store.get(f"ledger/trials/segments/{name}") or b""
    bad = DAMAGES[kind](content)
    ledger.store.put(f"ledger/trials/segments/{name}", bad)
    seen = Ledger(ledger.store)
    keys = [row.key for row in rows]
    read = seen.read(keys)
    (damage,) = seen.damaged
    assert seen.store.get(damage.kept) == bad
    saved = {"a bit of a page": rows[GROUP:]}
    if kind in saved:
        assert read == saved[kind]
    assert {row.key for row in read} == set(seen.index()), "what is not read is run again"
    assert damage.lost == len(rows) - len(read)
    assert all(row in rows for row in read), "and nothing is made up"
    assert (name in seen.segments.names()) == (read == rows), "saved whole, it is as it was written again"
    again = Ledger(ledger.store)
    assert again.read(keys) == read
    assert not again.damaged


def test_only_the_damaged_row_group_is_lost(ledger: Ledger, make_row: Make) -> None:
    """A page of metrics, which the index does not read: planning alone does not see it."""
    rows = [make_row(f"c{i:03d}", finished=f"{i:04d}", error=f"found {i}") for i in range(2 * GROUP)]
    ledger.segments.put(Ledger.columns.table(rows))
    (name,) = ledger.segments.names()
    content = ledger.store.get(f"ledger/trials/segments/{name}") or b""
    bad = flipped(content, page_of(content, group=1, column="last.key_value.value"))
    ledger.store.put(f"ledger/trials/segments/{name}", bad)
    seen = Ledger(ledger.store)
    assert len(seen.index()) == 2 * GROUP
    assert not seen.damaged
    assert seen.read([rows[0].key]) == rows[:1], "what is not asked for is not read"
    assert not seen.damaged
    assert seen.read(row.key for row in rows) == rows[:GROUP]
    assert seen.index() == dict.fromkeys((row.key for row in rows[:GROUP]), "completed")
    assert f"{GROUP} rows count as not done" in str(seen.damaged[0])


@pytest.mark.parametrize("place", range(12))
def test_no_flipped_bit_of_a_page_goes_unseen(tmp_path: Path, make_row: Make, place: int) -> None:
    """Some decompress to other numbers: only the page's checksum tells."""
    ledger = Ledger(Store(tmp_path))
    rows = [make_row(f"c{i}", value=(i * 0.618) % 1) for i in range(20)]
    name = ledger.segments.put(Ledger.columns.table(rows))
    content = ledger.store.get(f"ledger/trials/segments/{name}") or b""
    last = page_of(content, group=0, column="history.list.element.key_value.value")
    ledger.store.put(f"ledger/trials/segments/{name}", flipped(content, last - 5 * place))
    assert Ledger(ledger.store).read(row.key for row in rows) == []


def test_a_store_that_takes_no_writes_is_read_all_the_same(tmp_path: Path, make_row: Make) -> None:
    store = FaultyStore(tmp_path)
    ledger = Ledger(store)
    for name in ("c0", "c1"):
        ledger.write(make_row(name))
    compact(ledger)
    ledger.write(make_row("c2"))
    store.put("ledger/trials/completed/c3-0.parquet", b"")
    store.left, store.error = 0, OSError(30, "Read-only file system", "ledger")
    assert ledger.read(["c0-0", "c1-0", "c2-0", "c3-0"]) == [make_row("c0"), make_row("c1"), make_row("c2")]
    assert "c3-0" not in ledger.index()
    assert "left where it is" in str(ledger.damaged[0])
    with pytest.raises(OSError, match=r"Read-only file system: .*ledger"):
        ledger.write(make_row("c4"))
    store.left = None
    assert ledger.write(make_row("c4"))


def test_an_error_of_the_disk_is_no_damage(
    tmp_path: Path, make_row: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(Store(tmp_path))
    ledger.write(make_row())

    def refused(name: str) -> bytes:
        raise OSError(5, "Input/output error", str(tmp_path / name))

    monkeypatch.setattr(ledger.store, "get", refused)
    with pytest.raises(OSError, match=r"Input/output error: .*c0-0"):
        ledger.read(["c0-0"])
    assert not ledger.damaged


def test_a_pruned_row_counts_for_its_own_rule(ledger: Ledger, make_row: Make) -> None:
    mine, other = (make_row(status="pruned", rule=rule, error=rule) for rule in ("aa", "bb"))
    assert ledger.write(mine)
    assert ledger.write(other)
    assert not ledger.write(make_row(status="pruned", rule="aa", error="later")), "the first one stays"
    for _ in range(2):
        assert ledger.index() == {}
        assert ledger.index(rule="aa") == ledger.index(rule=None) == {"c0-0": "pruned"}
        assert ledger.index(rule="cc") == {}
        assert ledger.read(["c0-0"], rule="aa") == [mine]
        assert ledger.read(["c0-0"], rule="bb") == [other]
        assert ledger.read(["c0-0"]) == []
        compact(ledger)
    assert not ledger.write(make_row(status="pruned", rule="bb", error="later")), "nor in a segment"
    ledger.write(make_row(status="failed", rule="bb", failure="lost"))
    assert ledger.index(rule="aa") == {"c0-0": "pruned"}
    assert ledger.index() == {"c0-0": "failed"}
    ledger.write(make_row())
    assert ledger.index() == ledger.index(rule="aa") == {"c0-0": "completed"}
    assert not ledger.write(make_row(status="pruned", rule="dd"))


def test_one_key_is_looked_up_without_a_list(ledger: Ledger, make_row: Make) -> None:
    ledger.write(make_row("done"))
    ledger.write(make_row("failed", status="failed"))
    ledger.write(make_row("pruned", status="pruned", rule="aa"))
    ledger.write(make_row("bad"))
    ledger.store.put("ledger/trials/completed/bad-0.parquet", b"")
    for _ in range(2):
        seen = Ledger(ledger.store)
        done = {key: seen.is_done(f"{key}-0") for key in ("done", "failed", "pruned", "bad", "none")}
        assert done == {"done": True, "failed": False, "pruned": False, "bad": False, "none": False}
        assert [seen.is_done("pruned-0", rule) for rule in ("aa", "bb")] == [True, False]
        assert seen.is_done("done-0", "aa")
        compact(ledger)


def test_columns_may_be_left_out(ledger: Ledger, make_row: Make) -> None:
    ledger.write(make_row("c0"))
    compact(ledger)
    (row,) = ledger.read(["c0-0"], without=("history", "correct"))
    assert (row.history, row.best) == ([], make_row("c0").best)


def test_rows_made_for_tests_are_those_of_trials() -> None:
    from engine.config import Trial
    from engine.identity import trial_key

    row = real_row(seed=3)
    assert trial_key(Trial.model_validate(row.trial)) == row.key
    assert real_evaluation(row).key != real_evaluation(real_row(4)).key
