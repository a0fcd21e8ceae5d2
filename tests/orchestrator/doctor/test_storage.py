"""The store: real folders, a filesystem in memory, and ones that misbehave."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.doctor import storage
from orchestrator.doctor.result import Result, tried
from orchestrator.doctor.storage import examined, exercise, returned_too, visit
from orchestrator.records.store import Store


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "VISIBLE_SECONDS", 0.0)


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path / "store" if request.param == "folder" else f"memory://{tmp_path.name}")


def test_a_sound_store_is_written_by_both_sides_and_left_empty(store: Store) -> None:
    with examined(store) as folder:
        assert exercise(store, folder).status == "ok"
        seen = visit(store.location, folder, "node-1")
        assert (seen.status, store.location in seen.found) == ("ok", True)
        assert returned_too(seen, "node-1", store, folder) == seen
        assert returned_too(seen, "node-2", store, folder).status == "fail", "which wrote nothing"
    assert store.names("") == []
    assert store.local is None or not store.local.exists()


def test_what_was_there_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("ledger/row", b"1")
    with examined(store) as folder:
        exercise(store, folder)
    assert os.listdir(tmp_path) == ["ledger"]


@pytest.mark.parametrize(("made", "told"), [(True, "is not the driver's"), (False, "is not here")])
def test_a_folder_that_is_not_shared(tmp_path: Path, made: bool, told: str) -> None:
    mine, theirs = Store(tmp_path / "driver"), tmp_path / "node"
    if made:
        theirs.mkdir()
    with examined(mine) as folder:
        exercise(mine, folder)
        result = visit(str(theirs), folder, "node-1")
    assert (result.status, told in result.found) == ("fail", True)
    assert "object store" in result.remedy
    assert not made or not any(theirs.iterdir()), "nothing is left there"
    assert theirs.exists() == made


def test_a_store_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(30, "Read-only file system", str(tmp_path))

    monkeypatch.setattr(Store, "put", refuse)
    store = Store(tmp_path)
    with examined(store) as folder:
        result = tried("store", lambda: exercise(store, folder), storage.WRITABLE)
    assert (result.status, "Read-only file system" in result.found) == ("fail", True)


def test_a_folder_without_exclusive_creation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_created", lambda path: True)
    result = exercise(Store(tmp_path), "folder")
    assert (result.status, "creates a file twice" in result.found) == ("fail", True)


def test_a_node_respects_what_the_driver_created(tmp_path: Path) -> None:
    store = Store(tmp_path)
    exercise(store, "folder")
    (tmp_path / "folder" / storage.TAKEN).unlink()  # as a cache of the node's own would show it
    assert "a second time" in visit(str(tmp_path), "folder", "node-1").found


def test_other_findings_pass_as_they_are(tmp_path: Path) -> None:
    failed = Result("store", "fail", "x")
    assert returned_too(failed, "node-1", Store(tmp_path), "folder") is failed
