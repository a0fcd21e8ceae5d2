from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.records import compaction
from orchestrator.records.compaction import compact, tidy
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import DONE, Row
from orchestrator.records.store import Store
from tests.orchestrator.conftest import build_row
from tests.orchestrator.records.stores import Crash, FaultyStore, real_evaluation

Make = Callable[..., Row]


@pytest.fixture(params=["local", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    return Ledger(Store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}"))


def fresh(ledger: Ledger) -> Ledger:
    """As another process sees it."""
    return Ledger(ledger.store)


def segments(ledger: Ledger) -> list[str]:
    return ledger.store.names("ledger/trials/segments")


def test_rows_move_into_one_file(ledger: Ledger, make_row: Make) -> None:
    rows = [make_row(f"c{i}", i, status="failed" if i % 5 == 0 else "completed") for i in range(40)]
    for row in rows:
        ledger.write(row)
    ledger.evaluations.write(real_evaluation(rows[0]))
    before = ledger.index()
    did = compact(ledger)
    assert (did.rows, did.segments) == (41, 2)
    assert not ledger.loose()
    assert not ledger.evaluations.loose()
    for seen in (ledger, fresh(ledger)):
        assert seen.index() == before
        keys = [row.key for row in reversed(rows)]
        assert seen.read([*keys, "unknown"]) == rows[::-1]
        assert seen.find("c1-") == ["c1-1"]
        assert seen.evaluations.read(seen.evaluations.index()) == [real_evaluation(rows[0])]
    assert compact(ledger).rows == 0, "nothing is left to do"
    assert len(segments(ledger)) == 1


def test_few_rows_are_left_alone(ledger: Ledger, make_row: Make) -> None:
    ledger.write(make_row())
    tidy(ledger)
    assert len(ledger.loose()) == 1
    compact(ledger, waiting=2)
    assert len(ledger.loose()) == 1


def test_segments_are_merged_by_tiers(
    ledger: Ledger, make_row: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "TIER", 3)
    rows = [make_row(f"c{i}", i) for i in range(20)]
    for row in rows:
        ledger.write(row)
        compact(ledger)
        assert len(segments(ledger)) < compaction.TIER
    assert ledger.read(row.key for row in rows) == rows
    assert ledger.index() == dict.fromkeys((row.key for row in rows), "completed")


def test_what_a_done_row_outlives_goes(
    ledger: Ledger, make_row: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "TIER", 2)
    ledger.write(make_row(status="failed", error="first", finished="2026-01-01T00:00:01+00:00"))
    compact(ledger)
    ledger.write(make_row(status="failed", error="second", finished="2026-01-01T00:00:02+00:00"))
    assert ledger.read(["c0-0"])[0].error == "second", "the last of equals, wherever it stands"
    compact(ledger)
    assert ledger.read(["c0-0"])[0].error == "second"
    ledger.write(make_row(finished="2026-01-01T00:00:00+00:00"))  # clocks differ: done counts all the same
    assert ledger.index() == {"c0-0": "completed"}
    compact(ledger)
    assert len(segments(ledger)) == 1
    assert segments(ledger)[0].startswith("1-"), "one row is left of three"
    assert ledger.index() == {"c0-0": "completed"}


def test_a_done_row_in_a_segment_stays(ledger: Ledger, make_row: Make) -> None:
    first = make_row(value=0.5, finished="2026-01-01T00:00:00+00:00")
    assert ledger.write(first)
    compact(ledger)
    later = make_row(value=0.7, finished="2026-01-02T00:00:00+00:00")
    assert not fresh(ledger).write(later)
    assert not ledger.write(make_row(status="failed", finished="2026-01-03T00:00:00+00:00"))
    assert ledger.read(["c0-0"]) == [first]
    assert ledger.write(later, replace=True)
    assert ledger.read(["c0-0"]) == [later]
    compact(ledger)
    assert fresh(ledger).read(["c0-0"]) == [later]


def test_rows_of_an_earlier_version_get_their_defaults(ledger: Ledger, make_row: Make) -> None:
    table = Ledger.columns.table([make_row(memory=7)]).drop_columns(["memory", "attempts", "rule", "lineage"])
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(table, sink)
    ledger.store.put("ledger/trials/completed/c0-0.parquet", sink.getvalue().to_pybytes())
    ledger.write(make_row("c1"))
    compact(ledger)
    assert not ledger.loose()
    assert ledger.read(["c0-0", "c1-0"]) == [make_row(), make_row("c1")]


def test_rows_of_a_later_version_are_left_alone(ledger: Ledger, make_row: Make) -> None:
    table = Ledger.columns.table([make_row()]).append_column("colour", pa.array(["red"]))
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(table, sink)
    ledger.store.put("ledger/trials/completed/c0-0.parquet", sink.getvalue().to_pybytes())
    compact(ledger)
    assert len(ledger.loose()) == 1, "this version would lose a column of it"
    assert ledger.read(["c0-0"]) == [make_row()]


def test_two_compactors_at_once(ledger: Ledger, make_row: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second works on a list that the first has overtaken at every step."""
    monkeypatch.setattr(compaction, "TIER", 2)
    rows = [make_row(f"c{i}", i) for i in range(12)]
    for start in range(0, 12, 3):
        for row in rows[start : start + 3]:
            ledger.write(row)
        stale = [place for _, place in ledger.loose()]
        contents = ledger.contents(stale)
        compact(ledger)
        monkeypatch.setattr(Ledger, "contents", lambda self, places, c=contents: c)
        compaction.take_up(ledger, stale)
        monkeypatch.undo()
        monkeypatch.setattr(compaction, "TIER", 2)
        assert fresh(ledger).index() == dict.fromkeys((r.key for r in rows[: start + 3]), "completed")
    compact(ledger)
    assert fresh(ledger).read(row.key for row in rows) == rows


def test_a_reader_lists_again_when_a_file_went_away(ledger: Ledger, make_row: Make) -> None:
    rows = [make_row(f"c{i}", i) for i in range(5)]
    for row in rows[:3]:
        ledger.write(row)
    reader = fresh(ledger)
    listed = reader.places
    overtaken = []

    def places() -> dict[str, tuple[object, ...]]:
        found = listed()
        if not overtaken:
            overtaken.append(compact(ledger))
        return found  # type: ignore[return-value]

    reader.places = places  # type: ignore[method-assign, assignment]
    assert reader.read(row.key for row in rows) == rows[:3]
    assert overtaken[0].rows == 3
    assert not reader.damaged


@pytest.mark.parametrize("calls", range(6))
def test_a_store_that_refuses_loses_nothing(tmp_path: Path, make_row: Make, calls: int) -> None:
    store = FaultyStore(tmp_path)
    ledger, rows = Ledger(store), [make_row(f"c{i}", i) for i in range(4)]
    for row in rows:
        ledger.write(row)
    store.left, store.error = calls, OSError(28, "No space left on device", str(tmp_path / "x"))
    with pytest.raises(OSError, match=r"No space left on device: .*x") if calls < 5 else nullcontext():
        compact(ledger)
    store.left = None
    assert Ledger(store).read(row.key for row in rows) == rows
    compact(ledger)
    assert Ledger(store).read(row.key for row in rows) == rows
    assert not ledger.loose()


def test_a_driver_goes_on_where_compaction_cannot(
    tmp_path: Path, make_row: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compaction, "WAITING", 2)
    store = FaultyStore(tmp_path)
    ledger = Ledger(store)
    for i in range(3):
        ledger.write(make_row(f"c{i}"))
    store.left, store.error = 0, OSError(30, "Read-only file system", str(tmp_path / "ledger"))
    with caplog.at_level(logging.WARNING, "perturb"):
        tidy(ledger)
    assert "not compacted" in caplog.text
    assert str(tmp_path / "ledger") in caplog.text
    store.left = None
    tidy(ledger)
    assert not ledger.loose()


KEYS = ("a", "b", "c")
RULES = ("", "r1")
WRITE = st.tuples(
    st.just("write"), st.sampled_from(KEYS),
    st.sampled_from(["completed", "diverged", "failed", "pruned r1", "pruned r2"]),
    st.none() | st.integers(0, 3),
)  # fmt: skip
COMPACT = st.tuples(st.just("compact"), st.just(""), st.just(""), st.none() | st.integers(0, 8))


class Model:
    """What a ledger should say: by key, a done row, or pruned ones by rule and the last other one."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Row]] = {}

    def write(self, row: Row) -> None:
        held = self.rows.setdefault(row.key, {})
        if "done" in held:
            return
        if row.status in DONE:
            held.clear()
            held["done"] = row
        elif row.status == "pruned":
            held.setdefault(row.rule, row)
        else:
            held["other"] = row

    def under(self, rule: str) -> dict[str, Row]:
        found = {
            key: held.get("done") or held.get(rule) or held.get("other") for key, held in self.rows.items()
        }
        return {key: row for key, row in found.items() if row is not None}


@given(st.lists(WRITE | WRITE | COMPACT, max_size=9), st.integers(0, 10**9))
@settings(max_examples=25, deadline=None)
def test_any_sequence_of_writes_compactions_and_crashes(
    ops: list[tuple[str, str, str, int | None]], n: int
) -> None:
    store = FaultyStore(f"memory://model-{n}-{id(ops)}")
    ledger, model, tier = Ledger(store), Model(), compaction.TIER
    compaction.TIER = 2
    try:
        for clock, (act, key, kind, crash) in enumerate(ops):
            status, _, rule = kind.partition(" ")
            row = build_row(key=key, status=status, rule=rule, finished=f"{clock:04d}", error=f"{clock}")
            store.left = crash
            written = Ledger(store)
            try:
                if act == "compact":
                    compact(written)
                else:
                    written.write(row)
            except Crash:
                store.left = None
                if act == "write" and crash == 0:
                    continue  # nothing was put, or there was nothing to put
            store.left = None
            if act == "write":
                model.write(row)
            for seen in (ledger,) if clock % 3 else (ledger, Ledger(store)):
                for asked in RULES:
                    expected = model.under(asked)
                    assert seen.index(rule=asked) == {key: row.status for key, row in expected.items()}
                    read = {row.key: row for row in seen.read(KEYS, rule=asked)}
                    assert read == expected
                assert not seen.damaged
    finally:
        compaction.TIER = tier
        store.remove_folder("")


def test_a_tie_of_two_done_rows_is_one_row(ledger: Ledger, make_row: Make) -> None:
    """Two workers that ended the same trial in the same second."""
    row = make_row()
    ledger.write(row)
    diverged = replace(row, status="diverged", finished="2026-01-01T00:00:09+00:00")
    ledger.store.put("ledger/trials/diverged/c0-0.parquet", Ledger.to_parquet(diverged))
    assert ledger.index() == {"c0-0": "diverged"}
    assert ledger.read(["c0-0"]) == [diverged]
    compact(ledger)
    assert fresh(ledger).index() == {"c0-0": "diverged"}
    assert segments(ledger)[0].startswith("1-")
