from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.records.store import Store


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}")


def test_put_get_names_remove(store: Store) -> None:
    assert store.get("a/b") is None
    assert store.names("a") == []
    store.put("a/b", b"one")
    store.put("a/b", b"two")
    store.put("a/c/d", b"x")
    assert store.get("a/b") == b"two"
    assert store.names("a") == ["b", "c"]
    assert store.exists("a/b")
    assert not store.exists("a/c")
    store.remove("a/b")
    store.remove("a/b")
    assert not store.exists("a/b")
    store.remove_folder("a")
    store.remove_folder("a")
    assert store.names("a") == []


def test_sizes(store: Store) -> None:
    assert store.sizes("a") == {}
    store.put("a/b", b"one")
    store.put("a/c/d", b"x")
    assert store.sizes("a") == {"b": 3}


def test_errors_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Not a directory: .*file/below"):
        store.get("file/below")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        store.put("a/b", b"x")
    assert raised.value.filename == str(tmp_path / "a/b")


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.put("a", b"old")

    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(OSError, match="No space left"):
            store.put("a", b"new")
    assert store.get("a") == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"], "no temporary file stays"


def test_location_from_environment_and_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURB_STORE", str(tmp_path / "env"))
    assert Store().local == tmp_path / "env"
    assert Store(f"file://{tmp_path}").local == tmp_path
    remote = Store("memory://bucket/folder/")
    assert remote.local is None
    assert remote.location == "memory://bucket/folder"
    assert remote.folder("x") is None


def test_written_files_are_readable_by_others(tmp_path: Path) -> None:
    Store(tmp_path).put("a", b"x")
    assert (tmp_path / "a").stat().st_mode & 0o044 == 0o044
