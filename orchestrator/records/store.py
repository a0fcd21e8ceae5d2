"""Where results live: a local or network folder, or any filesystem that pyarrow or fsspec knows.

STORE/
  ledger/trials/<status>/<key>.parquet    one file a trial that finished lately (see records/table.py)
  ledger/trials/segments/                 many finished trials a file, compacted
  ledger/evaluations/                     the same for the evaluations of trials' checkpoints
  ledger/damaged/                         files that did not read, set aside
  checkpoints/<key>/                      of trials under way, and those that are kept
  logs/<key>.log
  sweeps/<name>/                          the sweep file as run, its progress, its reports
  mlflow.db, mlartifacts/                 the embedded MLflow store
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath

import pyarrow.fs as pafs

from engine.errors import InputError
from engine.files import write_atomic

OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}
"""Filesystems on which a file appears whole or not at all when it is put, and which cannot rename."""

DEFAULT = "perturb-store"


class Store:
    """A folder on some filesystem; names inside it are relative, with forward slashes.

    Args:
        location: a path, or a URI such as ``s3://bucket/folder``; None takes ``PERTURB_STORE``, else
            ``perturb-store`` in the working folder.

    >>> Store("memory://doctest").put("a/b.txt", b"x")
    >>> Store("memory://doctest").names("a")
    ['b.txt']
    """

    def __init__(self, location: str | Path | None = None) -> None:
        given = str(location or os.environ.get("PERTURB_STORE") or DEFAULT)
        self.protocol, separator, rest = given.partition("://")
        self.local: Path | None = None
        if not separator or self.protocol == "file":
            self.local = Path(rest if separator else given).expanduser().resolve()
            self.protocol, self.root = "file", self.local.as_posix()
            if self.local.exists() and not self.local.is_dir():
                raise InputError("store", str(self.local), "a folder; this is a file")
        else:
            self.root = rest.rstrip("/")
        self.location = self.root if self.local else f"{self.protocol}://{self.root}"

    def __repr__(self) -> str:
        return f"Store({self.location!r})"

    @cached_property
    def filesystem(self) -> pafs.FileSystem:
        """The pyarrow filesystem, an fsspec one wrapped where pyarrow has none of its own."""
        if self.local:
            return pafs.LocalFileSystem()
        if self.protocol in ("s3", "gs", "gcs", "hdfs", "abfs", "abfss"):
            return pafs.FileSystem.from_uri(self.location)[0]
        import fsspec

        try:
            return pafs.PyFileSystem(pafs.FSSpecHandler(fsspec.filesystem(self.protocol)))
        except (ValueError, ImportError) as error:
            legal = f"a path, or a URI that pyarrow or an installed fsspec package knows ({error})"
            raise InputError("store", self.location, legal) from None

    def path(self, name: str) -> str:
        """Full path of a name, as the filesystem takes it."""
        return str(PurePosixPath(self.root) / name)

    def folder(self, name: str) -> Path | None:
        """The local folder of a name; None on a remote store."""
        return self.local / name if self.local else None

    def put(self, name: str, content: bytes) -> None:
        """Write a file so that no reader ever sees half of it.

        Object stores take it in a single put; elsewhere a temporary file is flushed and renamed.

        Raises:
            OSError: no space left, read-only, no answer; it names the file.
        """
        with self._naming(name):
            self._put(name, content)

    def _put(self, name: str, content: bytes) -> None:
        if self.local:
            write_atomic(self.local / name, content)
            return
        target = self.path(name)
        if self.protocol in OBJECT_STORES:
            written = target
        else:
            self.filesystem.create_dir(str(PurePosixPath(target).parent), recursive=True)
            written = f"{target}.{os.getpid()}.part"
        with self.filesystem.open_output_stream(written) as stream:
            stream.write(content)
        if written != target:
            self.filesystem.move(written, target)

    def get(self, name: str) -> bytes | None:
        """A file's content, None where there is no such file."""
        try:
            with self._naming(name), self.filesystem.open_input_stream(self.path(name)) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        info = self.filesystem.get_file_info(self.path(name))
        return bool(info.type == pafs.FileType.File)

    def names(self, folder: str) -> list[str]:
        """Names of the files and folders directly inside a folder, sorted; none where it is not there."""
        if self.local:
            try:
                return sorted(n for n in os.listdir(self.local / folder) if not n.startswith("."))
            except FileNotFoundError:
                return []
        selector = pafs.FileSelector(self.path(folder), allow_not_found=True)
        return sorted(info.base_name for info in self.filesystem.get_file_info(selector))

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of the files directly inside a folder, by name; none where it is not there."""
        selector = pafs.FileSelector(self.path(folder), allow_not_found=True)
        with self._naming(folder):
            found = self.filesystem.get_file_info(selector)
        files = [info for info in found if info.type == pafs.FileType.File]
        return {info.base_name: info.size for info in files if not info.base_name.startswith(".")}

    def remove(self, name: str) -> None:
        """Delete a file; nothing where there is none."""
        try:
            with self._naming(name):
                self.filesystem.delete_file(self.path(name))
        except FileNotFoundError:
            return

    def remove_folder(self, name: str) -> None:
        """Delete a folder and what is in it; nothing where there is none."""
        try:
            self.filesystem.delete_dir(self.path(name))
        except FileNotFoundError:
            return

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Errors of the filesystem name the file: pyarrow's and a full disk's do not."""
        try:
            yield
        except OSError as error:
            if error.filename is not None and str(error.filename) == self.path(name):
                raise
            why = error.strerror or str(error) or type(error).__name__
            raise type(error)(error.errno or errno.EIO, why, self.path(name)) from error
