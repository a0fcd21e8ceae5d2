from __future__ import annotations

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pyarrow.fs as pafs
import pytest
from fsspec.asyn import AsyncFileSystem

from orchestrator.records import store as module
from orchestrator.records.store import Store


@pytest.fixture(params=["local", "memory", "another"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A folder, an object store, and a filesystem of fsspec's that is neither."""
    places = {"local": tmp_path, "memory": f"memory://{tmp_path.name}", "another": f"local://{tmp_path}"}
    return Store(places[request.param])


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
    store.put("a/.e", b"hidden")
    assert store.sizes("a") == {"b": 3}
    assert store.names("a") == ["b", "c"]


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


def test_a_file_is_created_once(store: Store) -> None:
    assert store.create("a/b", b"one")
    assert not store.create("a/b", b"two")
    assert not store.create("a/b", b"one")
    assert store.get("a/b") == b"one"
    assert store.names("a") == ["b"]
    store.remove("a/b")
    assert store.create("a/b", b"two")


def test_a_file_is_linked_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.link("b", "a"), "there is nothing to link"
    store.put("a", b"one")
    assert not store.link("folder/b", "a"), "there is no folder"
    assert store.link("b", "a")
    assert not store.link("b", "a")
    store.put("a", b"two")
    assert store.get("b") == b"one"
    assert not Store("memory://no-links").link("b", "a")


def test_a_store_that_is_away_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(path: str) -> os.stat_result:
        raise OSError(errno.ESTALE, "stale file handle", path)

    store = Store(tmp_path)
    (tmp_path / "file").write_text("")
    assert not store.exists("file/below")
    monkeypatch.setattr(module.os, "stat", away)
    with pytest.raises(OSError, match="stale"):
        store.exists("file")


def test_one_of_many_creates(store: Store) -> None:
    with ThreadPoolExecutor(32) as pool:
        told = list(pool.map(lambda i: store.create("a", b"%d" % i), range(200)))
    assert told.count(True) == 1
    assert store.get("a") == b"%d" % told.index(True)
    assert store.names("") == ["a"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_is_created_where_links_are_not_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(source: str, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refused)
    store = Store(tmp_path)
    assert store.create("a", b"one")
    assert not store.create("a", b"two")
    assert (store.get("a"), [p.name for p in tmp_path.iterdir()]) == (b"one", ["a"])


def test_a_link_that_nfs_made_and_denies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's answer was lost and the call repeated: it is answered that the link exists."""
    link = os.link

    def twice(source: str, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", twice)
    assert Store(tmp_path).create("a", b"one")


def test_a_full_disk_creates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: str, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space left"):
        Store(tmp_path).create("a", b"x")
    assert list(tmp_path.iterdir()) == []


def test_creation_without_an_fsspec_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.0)
    (tmp_path / "bucket").mkdir()
    store = Store("s3://bucket")
    store.__dict__["_opened"] = (pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "bucket")
    store.__dict__["_fsspec"] = None
    assert store.create("a", b"one")
    assert not store.create("a", b"two")
    put = Store.put

    def overtaken(self: Store, name: str, content: bytes) -> None:
        put(self, name, content)
        put(self, name, b"another writer's")

    monkeypatch.setattr(Store, "put", overtaken)
    assert not store.create("b", b"mine")


def test_a_refusal_by_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """s3fs has called a failed precondition EINVAL."""
    store = Store(f"memory://{tmp_path.name}")

    def pipe_file(path: str, value: bytes, mode: str = "overwrite") -> None:
        raise OSError(errno.EINVAL, "At least one of the pre-conditions you specified did not hold")

    store.put("b", b"another writer's")
    monkeypatch.setattr(store._fsspec, "pipe_file", pipe_file)
    with pytest.raises(OSError, match="pre-conditions"):
        store.create("a", b"x")
    assert not store.create("b", b"x")


def test_a_service_that_is_away_is_an_error_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """botocore's EndpointConnectionError is none; what waits for a store looks for such errors alone."""
    store = Store(f"memory://{tmp_path.name}")

    def pipe_file(path: str, value: bytes, mode: str = "overwrite") -> None:
        raise LookupError("Could not connect to the endpoint URL")

    monkeypatch.setattr(store._fsspec, "pipe_file", pipe_file)
    with pytest.raises(OSError, match="Could not connect") as raised:
        store.create("a", b"x")
    assert raised.value.filename == store.path("a")


def test_only_what_says_so_creates_exclusively() -> None:
    class Plain(fsspec.AbstractFileSystem):
        pass

    class Old(Plain):
        def pipe_file(self, path: str, value: bytes, **kwargs: object) -> None: ...

    class Exclusive(AsyncFileSystem):
        async def _pipe_file(self, path: str, value: bytes, mode: str = "overwrite") -> None: ...

    class Another(AsyncFileSystem):
        async def _pipe_file(self, path: str, value: bytes, overwrite: bool = True, **_: object) -> None: ...

    class LikeAdlfs(Another):
        protocol = ("abfs", "az", "abfss")

    create = {"mode": "create"}
    told = [module._exclusively(kind()) for kind in (Plain, Old, Exclusive, Another, LikeAdlfs)]
    assert told == [None, None, create, None, {"overwrite": False}]
    assert module._exclusively(fsspec.filesystem("memory")) == create


def test_modified_is_when_it_was_last_written(store: Store) -> None:
    assert store.modified("a") is None
    before = time.time()
    store.put("a", b"x")
    first = store.modified("a")
    assert first is not None
    assert before - 1 <= first <= time.time() + 1
    store.put("a", b"y")
    second = store.modified("a")
    assert second is not None
    assert second >= first
