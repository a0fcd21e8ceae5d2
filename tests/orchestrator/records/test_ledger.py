from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.ledger import EVALUATION_SCHEMA, SCHEMA, Ledger, from_parquet, to_parquet
from orchestrator.records.row import Row
from orchestrator.records.store import Store


@pytest.fixture(params=["local", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    return Ledger(Store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}"))


def test_schema_has_a_column_for_each_field() -> None:
    assert SCHEMA.names == [field.name for field in fields(Row) if field.name != "evaluations"]
    assert EVALUATION_SCHEMA.names == [field.name for field in fields(EvaluationRow)]


def test_row_survives_parquet(make_row: Callable[..., Row]) -> None:
    row = make_row(correct={"best": b"\x00\xff", "last": b"\x01"}, examples=13, failure=None, error="ä\nb")
    assert from_parquet(to_parquet(row)) == row


def test_index_needs_no_file_to_be_read(ledger: Ledger, make_row: Callable[..., Row]) -> None:
    ledger.store.put("ledger/trials/completed/abc.parquet", b"not parquet")
    assert ledger.index() == {"abc": "completed"}


def test_a_done_row_replaces_a_failed_one(ledger: Ledger, make_row: Callable[..., Row]) -> None:
    failed = make_row(status="failed", failure="error", error="boom")
    ledger.write(failed)
    assert ledger.index() == {failed.key: "failed"}
    assert ledger.read([failed.key])[0].error == "boom"
    done = make_row()
    ledger.write(done)
    assert ledger.index() == {done.key: "completed"}
    assert ledger.read([done.key, "unknown"]) == [done]
    assert ledger.store.names("ledger/trials/failed") == []


def test_a_row_killed_between_write_and_clean_up_counts_as_done(
    ledger: Ledger, make_row: Callable[..., Row]
) -> None:
    row = make_row()
    ledger.write(row)
    stale = replace(row, status="failed")
    ledger.store.put(f"ledger/trials/failed/{row.key}.parquet", to_parquet(stale))
    assert ledger.index() == {row.key: "completed"}


def test_find_by_prefix(ledger: Ledger, make_row: Callable[..., Row]) -> None:
    for key in ("aa1", "aa2", "b"):
        ledger.write(make_row(key=key))
    assert ledger.find("aa") == ["aa1", "aa2"]


def test_a_late_failure_does_not_undo_a_finished_trial(ledger: Ledger, make_row: Callable[..., Row]) -> None:
    done = make_row()
    ledger.write(done)
    ledger.write(make_row(status="failed", failure="lost"))
    assert ledger.index() == {done.key: "completed"}
    assert ledger.store.names("ledger/trials/failed") == []


def test_a_row_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """Columns that came later are at their defaults."""
    old = pa.Table.from_pylist([{"key": "k", "cell": "c", "seed": 0, "status": "completed"}], SCHEMA)
    for name in ("memory", "attempts", "rule", "lineage", "trial", "canonical"):
        old = old.drop_columns(name)
    old = old.append_column("trial", pa.array(["{}"])).append_column("canonical", pa.array(["{}"]))
    sink = io.BytesIO()
    pq.write_table(old.drop_columns([n for n in old.schema.names if old[n].null_count]), sink)
    row = from_parquet(sink.getvalue())
    assert (row.key, row.attempts, row.rule, row.lineage) == ("k", 1, "", [])
