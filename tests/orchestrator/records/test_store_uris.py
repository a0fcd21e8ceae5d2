"""Stores by their URIs: which folder of which filesystem they are, without any network."""

from __future__ import annotations

import errno
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from engine.errors import InputError
from orchestrator.dispatch.outages import failed_by
from orchestrator.records import store as module
from orchestrator.records import uris
from orchestrator.records.store import Store

S3 = "s3://key:se%2Fcret@bucket/folder?endpoint_override=127.0.0.1:9&scheme=http"

REGISTRY = importlib.import_module("fsspec.registry")._registry


class FakeS3(fsspec.AbstractFileSystem):
    """As s3fs: files of each endpoint are in a folder of its own."""

    protocol = "s3"
    cachable = False
    endpoints: ClassVar[dict[str, Path]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.folder = self.endpoints[options.get("endpoint_url", "")]

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: object) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb" if mode == "create" else "wb") as file:
            file.write(value)

    def rm_file(self, path: str) -> None:
        (self.folder / path).unlink()


class Remembering(MemoryFileSystem):
    """Looks once, as filesystems of object stores do, and shares its files with others."""

    protocol = "remembering"
    remembered: ClassVar[dict[str, Any]] = {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("remembering://", "memory://")))

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        known = f"ls {path}"
        if known not in self.remembered:
            self.remembered[known] = super().ls(path, detail=True)
        return list(self.remembered[known])

    def info(self, path: str, **kwargs: Any) -> Any:
        known = f"info {path}"
        if known not in self.remembered:
            try:
                self.remembered[known] = super().info(path)
            except FileNotFoundError as error:
                self.remembered[known] = error
        if isinstance(self.remembered[known], FileNotFoundError):
            raise self.remembered[known]
        return self.remembered[known]

    find = fsspec.AbstractFileSystem.find

    def invalidate_cache(self, path: str | None = None) -> None:
        self.remembered.clear()


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is behind the endpoint of :data:`S3`, to pyarrow and to s3fs; ``aws`` beside it is s3fs's own."""
    own, aws, from_uri = tmp_path / "own", tmp_path / "aws", uris.from_uri
    for folder in (own, aws):
        (folder / "bucket").mkdir(parents=True)

    def stood_for(location: str, protocol: str) -> tuple[pafs.FileSystem, str]:
        return pafs.SubTreeFileSystem(str(own), pafs.LocalFileSystem()), from_uri(location, protocol)[1]

    monkeypatch.setattr(module, "from_uri", stood_for)
    monkeypatch.setattr(FakeS3, "endpoints", {"http://127.0.0.1:9": own, "": aws})
    monkeypatch.setitem(REGISTRY, "s3", FakeS3)
    (own / "bucket/folder").mkdir()
    return own


@pytest.fixture
def remembering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setitem(REGISTRY, "remembering", Remembering)
    yield Store(f"remembering://{tmp_path.name}")
    Remembering.remembered.clear()


@pytest.mark.parametrize(
    ("location", "folder"),
    [
        ("abfs://c@account.dfs.core.windows.net/path", "c/path"),
        ("abfss://c@account.dfs.core.windows.net/path/deep/", "c/path/deep"),
        ("abfs://account:a2V5@account.blob.core.windows.net/c/path", "c/path"),
        ("abfs://account@c/path/?enable_tls=true", "c/path"),
        (S3, "bucket/folder"),
        ("s3://bucket/folder/?region=eu-north-1", "bucket/folder"),
        ("s3://bucket?region=eu-north-1", "bucket"),
        ("gs://anonymous@bucket/folder?endpoint_override=127.0.0.1:9&scheme=http", "bucket/folder"),
        ("webhdfs://user@127.0.0.1:9/folder", "/folder"),
        ("memory://bucket/folder", "/bucket/folder"),
    ],
)
def test_the_folder_is_what_the_library_reads(location: str, folder: str) -> None:
    store = Store(location)
    assert store.root == folder
    assert (store.path("a/b"), store.path("")) == (f"{folder}/a/b", folder)
    assert Store(store.location).root == folder
    assert store.location == (location if "?" in location else location.rstrip("/"))


def test_all_goes_to_one_place(s3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def weaker(store: Store, name: str, content: bytes) -> bool:
        raise AssertionError("s3fs creates exclusively")

    monkeypatch.setattr(Store, "_put_and_look", weaker)
    store, folder = Store(S3), s3 / "bucket/folder"
    store.put("put", b"one")
    assert store.create("created", b"two")
    assert not store.create("created", b"three")
    assert not store.create("put", b"three")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"put": b"one", "created": b"two"}
    assert store.names("") == ["created", "put"]
    assert (store.get("created"), store.exists("created"), store.sizes("")["put"]) == (b"two", True, 3)
    store.remove("created")
    assert store.create("created", b"four")
    assert list((s3.parent / "aws/bucket").iterdir()) == []
    (s3 / "bucket/folder/file").write_bytes(b"")
    with pytest.raises(OSError, match="file/below") as raised:
        store.get("file/below")
    assert "cret" not in str(raised.value)


def test_two_places_are_told_before_anything_is_held(s3: Path) -> None:
    """AWS_ENDPOINT_URL in a profile is s3fs's alone, for example."""
    store = Store("s3://key:secret@bucket/folder?region=eu-north-1")
    with pytest.raises(InputError, match="pyarrow and FakeS3 to one place") as raised:
        store.create("a", b"x")
    assert "secret" not in str(raised.value)
    left = [path for path in s3.parent.rglob("*") if path.is_file()]
    assert left == []


@pytest.mark.parametrize(
    ("location", "options"),
    [
        ("s3://bucket/folder", {}),
        ("s3://bucket/folder?allow_bucket_creation=true", {}),
        (
            S3 + "&region=eu-north-1",
            {
                **{"key": "key", "secret": "se/cret", "endpoint_url": "http://127.0.0.1:9", "use_ssl": False},
                "client_kwargs": {"region_name": "eu-north-1"},
            },
        ),
        (
            "s3://b?endpoint_override=https://h:9&tls_ca_file_path=/ca.pem",
            {"endpoint_url": "https://h:9", "client_kwargs": {"verify": "/ca.pem"}},
        ),
        ("s3://b?tls_verify_certificates=false", {"client_kwargs": {"verify": False}}),
        ("gs://b/f?retry_limit_seconds=3", {}),
        (
            "gcs://anonymous@b/f?endpoint_override=h:9&project_id=p",
            {"token": "anon", "endpoint_url": "https://h:9", "project": "p"},
        ),
        ("abfs://c@account.dfs.core.windows.net/f", {"account_name": "account", "anon": False}),
        (
            "abfss://:a2V5%3D@account.blob.core.windows.net/c/f",
            {"account_name": "account", "account_key": "a2V5=", "anon": False},
        ),
        ("abfs://account@c/f?credential_kind=anonymous", {"account_name": "account", "anon": True}),
        (
            "abfs://account@c/f?tenant_id=t&client_id=i&client_secret=s",
            {"account_name": "account", "anon": False}
            | {"tenant_id": "t", "client_id": "i", "client_secret": "s"},
        ),
        (
            "abfs://account@c/f?sig=a%2Bb%3D",
            {"account_name": "account", "anon": False, "sas_token": "sig=a%2Bb%3D"},
        ),
    ],
)
def test_fsspec_is_given_what_pyarrow_reads(location: str, options: dict[str, Any]) -> None:
    assert uris.for_fsspec(location) == options


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("s3://key:secret@b/f?tls_ca_dir_path=/secret", "tls_ca_dir_path"),
        ("abfs://account:secret@host.local:9/c/f?enable_tls=false", "enable_tls, the host"),
        ("abfs://c@account.dfs.core.windows.net/f?blob_storage_authority=.secret", "blob_storage_authority"),
    ],
)
def test_what_fsspec_cannot_be_given_is_refused(location: str, named: str) -> None:
    with pytest.raises(InputError, match=f"a URI without {named}, which") as raised:
        uris.for_fsspec(location)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("webhdfs:///folder", "host"),
        ("nosuch://key:secret@bucket/folder", "Protocol not known: nosuch"),
        ("s3://key:secret@bucket/folder?nosuch=secret", "query parameter in S3 URI: 'nosuch'"),
        ("s3://key:secret@bucket/a folder", "Cannot parse URI"),
        ("s3://key:se/cret@bucket/folder", "written %2F"),
        ("abfs://container/folder", "account name"),
        ("s3://", "names a bucket"),
        ("gs://anonymous@", ""),
        ("abfs://account.blob.core.windows.net", "or a container"),
    ],
)
def test_a_uri_that_nobody_takes_is_one_line(location: str, why: str) -> None:
    with pytest.raises(InputError) as raised:
        Store(location).names("")
    told = str(raised.value)
    assert told.startswith("store: ")
    assert why in told
    assert not any(word in told for word in ("secret", "cret@", "\n"))


def test_a_store_that_gives_no_answer_is_not_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library may well say that it finds no such file, of one of its own."""

    def away(location: str, protocol: str) -> tuple[pafs.FileSystem, str]:
        raise FileNotFoundError(errno.ENOENT, "Unable to load libjvm\nin any of\nthese folders")

    store = Store("hdfs://user:secret@127.0.0.1:9/folder")
    with monkeypatch.context() as patch:
        patch.setattr(module, "from_uri", away)
        for act in (store.get, store.exists, store.names, store.remove, lambda name: store.put(name, b"x")):
            with pytest.raises(OSError, match=r"Unable to load libjvm: .*127\.0\.0\.1:9/folder") as raised:
                act("a")
            assert failed_by(store, raised.value), "it is waited for"
            assert not any(word in str(raised.value) for word in ("secret", "\n", "these"))
    monkeypatch.setattr(module, "from_uri", lambda *given: (pafs.LocalFileSystem(), "/folder"))
    assert store.path("a") == "/folder/a", "it has come back"


def test_no_listing_is_remembered(remembering: Store, tmp_path: Path) -> None:
    other = Store(f"memory://{tmp_path.name}")
    other.put("a/b", b"one")
    assert (remembering.exists("a/c"), remembering.names("a")) == (False, ["b"])
    other.put("a/c", b"two")
    assert remembering.names("a") == ["b", "c"]
    assert (remembering.exists("a/c"), remembering.exists("a/d")) == (True, False)
    other.put("a/d", b"three")
    assert remembering.exists("a/d")
    assert remembering.sizes("a") == {"b": 3, "c": 3, "d": 5}
    other.put("a/e", b"four")
    remembering.remove_folder("a")
    assert other.names("a") == []


def test_a_store_of_fsspec_s_that_is_away_is_not_an_empty_one(
    remembering: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Remembering, path: str, **kwargs: object) -> None:
        raise ConnectionError(errno.ECONNREFUSED, "Connection refused")

    assert remembering.names("a") == []
    monkeypatch.setattr(Remembering, "ls", away)
    monkeypatch.setattr(Remembering, "info", away)
    for look in (remembering.names, remembering.sizes, remembering.exists):
        with pytest.raises(ConnectionError, match=r"refused: .*/a'"):
            look("a")


def test_an_error_of_azure_s_library_is_the_system_s() -> None:
    store = Store("abfs://c@account.dfs.core.windows.net/folder")
    with pytest.raises(OSError, match="no token: 'c/folder/a'") as raised, store._naming("a"):
        raise pa.ArrowException("Unknown error: no token\nsee there")
    assert raised.value.errno == errno.EIO
    with pytest.raises(pa.ArrowInvalid), store._naming("a"):
        raise pa.ArrowInvalid("a mistake")
