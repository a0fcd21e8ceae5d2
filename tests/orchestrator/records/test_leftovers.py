"""What drivers left that died between a row and the end of its claim."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.records.lease import Holder, Lease, this_process
from orchestrator.records.ledger import Ledger
from orchestrator.records.leftovers import clear
from orchestrator.records.row import Row
from orchestrator.records.store import Store


@pytest.fixture
def dead() -> Holder:
    me = this_process("s")
    return Holder("dead", me.host, 2**22 - 1, me.machine, me.started, "s")


def leave(store: Store, holder: Holder, key: str, row: Row | None, *files: str) -> None:
    store.put(f"drivers/{holder.id}.json", holder.json())
    store.put(f"claims/{key}.json", holder.json())
    for file in files:
        store.put(f"checkpoints/{key}/{file}", b"weights")
    if row is not None:
        Ledger(store).write(row)


def test_what_the_dead_hold_goes(tmp_path: Path, dead: Holder, make_row: Callable[..., Row]) -> None:
    store = Store(tmp_path)
    leave(store, dead, "done", make_row(key="done"), "resume.pt")
    leave(store, dead, "kept", make_row(key="kept"), "resume.pt", "best.pt")
    leave(store, dead, "open", None, "resume.pt")
    leave(store, dead, "failed", make_row(key="failed", status="failed", failure="lost"), "resume.pt")
    store.put("claims/open.json.dead", dead.json())  # it died while it took the claim over
    store.put("drivers/dead.stop", b"")
    with Lease(store, "s") as lease:
        clear(lease, Ledger(store))
        assert store.names("drivers") == [f"{lease.me.id}.json"]
    assert store.names("claims") == []
    assert {key: store.names(f"checkpoints/{key}") for key in store.names("checkpoints")} == {
        "kept": ["best.pt"], "open": ["resume.pt"], "failed": ["resume.pt"],
    }  # fmt: skip


def test_what_the_living_hold_stays(tmp_path: Path, make_row: Callable[..., Row]) -> None:
    store = Store(tmp_path)
    with Lease(store, "other") as other, Lease(store, "s") as lease:
        leave(store, other.me, "done", make_row(key="done"), "resume.pt")
        leave(store, lease.me, "mine", None)
        clear(lease, Ledger(store))
        assert store.names("claims") == ["done.json", "mine.json"]
        assert store.names("checkpoints/done") == ["resume.pt"]
        assert len(store.names("drivers")) == 2


def test_pruned_rows_count_by_their_rule(tmp_path: Path, dead: Holder, make_row: Callable[..., Row]) -> None:
    store = Store(tmp_path)
    leave(store, dead, "cut", make_row(key="cut", status="pruned", rule="asha"), "resume.pt")
    with Lease(store, "s") as lease:
        clear(lease, Ledger(store))
        assert store.names("checkpoints/cut") == ["resume.pt"]
        leave(store, dead, "cut", None)
        clear(lease, Ledger(store), "asha")
    assert store.names("checkpoints") == []


def test_a_store_that_refuses_costs_a_warning(
    tmp_path: Path, dead: Holder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    leave(store, dead, "open", None)

    def refuse(name: str, content: bytes) -> None:
        raise OSError(30, "Read-only file system", name)

    with Lease(store, "s") as lease, monkeypatch.context() as patch:
        patch.setattr(lease.store, "put", refuse)
        patch.setattr(lease.store, "create", refuse)
        clear(lease, Ledger(store))
    assert "Read-only file system" in caplog.text
    assert store.names("claims") == ["open.json"]
