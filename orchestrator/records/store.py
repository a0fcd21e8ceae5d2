"""Where results live: a local or network folder, or any filesystem that pyarrow or fsspec knows.

STORE/
  ledger/trials/<status>/<key>.parquet    one file a trial that finished lately (see records/table.py)
  ledger/trials/segments/                 many finished trials a file, compacted
  ledger/evaluations/                     the same for the evaluations of trials' checkpoints
  ledger/damaged/                         files that did not read, set aside
  checkpoints/<key>/                      of trials under way, and those that are kept
  logs/<key>.log
  sweeps/<name>/                          the sweep file as run, its driver, its progress, its reports
  drivers/<id>.json                       a driver that lives, renewed while it does
  claims/<key>.json                       the driver that has given the key's job to a worker
  mlflow.db, mlartifacts/                 the embedded MLflow store
"""

from __future__ import annotations

import errno
import inspect
import os
import stat
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from engine.errors import InputError, first_line
from engine.files import write_atomic
from orchestrator.records.uris import NATIVE, for_fsspec, from_uri, said, shown

OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}
"""Filesystems on which a file appears whole or not at all when it is put, and which cannot rename."""

DEFAULT = "perturb-store"

SETTLE_SECONDS = 0.5
"""Time between a put and the look whether it stood, where a filesystem cannot create exclusively."""

_creating = threading.Lock()
"""Held while fsspec creates a file: in its memory filesystem, looking and writing are two steps."""


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
        self._seen = False
        given = str(location or os.environ.get("PERTURB_STORE") or DEFAULT)
        self.protocol, separator, rest = given.partition("://")
        self.local: Path | None = None
        if not separator or self.protocol == "file":
            self.local = Path(rest if separator else given).expanduser().resolve()
            self.protocol, self.location = "file", self.local.as_posix()
            if self.local.exists() and not self.local.is_dir():
                raise InputError("store", str(self.local), "a folder; this is a file")
        else:
            self.location = f"{self.protocol}://{rest if '?' in rest else rest.rstrip('/')}"

    def __repr__(self) -> str:
        return f"Store({self.location!r})"

    @property
    def filesystem(self) -> pafs.FileSystem:
        """The pyarrow filesystem, an fsspec one wrapped where pyarrow has none of its own."""
        return self._opened[0]

    @property
    def root(self) -> str:
        """The store's folder as its filesystem names it; while that gives no answer, as errors name it."""
        if self.local:
            return self.location
        try:
            return self._opened[1]
        except OSError:
            return shown(self.location)

    @cached_property
    def _opened(self) -> tuple[pafs.FileSystem, str]:
        """The filesystem with all that the URI asks of it, and the store's folder in it.

        Raises:
            InputError: neither library takes the URI. OSError: no answer; it names the store.
        """
        if self.local:
            return pafs.LocalFileSystem(), self.location
        place = shown(self.location)
        try:
            filesystem, folder = from_uri(self.location, self.protocol)
        except OSError as error:  # as one that never reads as "no such file"
            raise OSError(errno.EIO, said(error, self.location), f"{place}/") from error
        except Exception as error:  # noqa: BLE001  the boundary of the libraries, which raise anything
            legal = "a path, or a URI that pyarrow or an installed fsspec package knows"
            raise InputError("store", place, f"{legal} ({said(error, self.location)})") from None
        if not folder and NATIVE.get(self.protocol):
            raise InputError("store", place, "a URI that names a bucket or a container")
        return filesystem, folder

    def path(self, name: str) -> str:
        """Full path of a name, as the filesystem takes it."""
        if self.local:
            return f"{self.location}/{name}"
        folder = self._opened[1]
        return f"{folder}/{name}" if name else folder

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
        if self.protocol in OBJECT_STORES and self._wrapped:
            self._fsspec.pipe_file(target, content)
            return
        if self.protocol in OBJECT_STORES:
            written = target
        else:
            folder, last = PurePosixPath(target).parent, PurePosixPath(target).name
            self.filesystem.create_dir(str(folder), recursive=True)
            written = str(
                folder / f".{last}.{uuid.uuid4().hex[:12]}"
            )  # threads may write the same file at once
        with self.filesystem.open_output_stream(written) as stream:
            stream.write(content)
        if written != target:
            self.filesystem.move(written, target)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file if there is none; of several writers at once, exactly one is told True.

        Locally a whole temporary file is linked into place, which holds on NFS too. Elsewhere fsspec
        creates exclusively (``pipe_file(mode="create")``: s3fs and gcsfs since the end of 2024, memory;
        ``overwrite=False``: adlfs). Where it cannot, or its package for the filesystem is not installed, the
        file is put and read back after a moment: two writers of whom one is slower than
        :data:`SETTLE_SECONDS` may both be told True. Nothing here is forced to disk: a power cut may lose the
        file or leave it empty.

        Args:
            name: of the file. content: must tell its writer from others.

        Returns:
            Whether the file is this writer's; False where there is one already.

        Raises:
            InputError: fsspec's package cannot be given what the URI asks of pyarrow, or looks elsewhere.
        """
        if self.local:
            return _create_local(self.local / name, content)
        exclusively = _exclusively(self._fsspec) if self._fsspec is not None else None
        if exclusively is None:
            return self._put_and_look(name, content)
        try:
            with _creating:
                self._fsspec.pipe_file(self.path(name), content, **exclusively)
        except OSError:  # not every filesystem calls a refusal by its name
            if self.get(name) is None:
                raise
            return False
        except Exception as error:  # botocore's, say, of a service that is away
            raise OSError(errno.EIO, first_line(error), self.path(name)) from error
        self._see(name)
        return True

    def link(self, name: str, of: str) -> bool:
        """Create a file as a further name of another one; whether that was done.

        One call of the system in place of the six of :meth:`create`, as exclusive and as whole. False where
        the file is there, the other is not, or the filesystem has no links: :meth:`create` then tells.

        Args:
            name: of the file. of: that is always replaced as a whole, never written into.
        """
        if not self.local:
            return False
        try:
            os.link(self.path(of), self.path(name))
        except OSError:
            return False
        return True

    def _put_and_look(self, name: str, content: bytes) -> bool:
        if self.get(name) is not None:
            return False
        self.put(name, content)
        time.sleep(SETTLE_SECONDS)
        return self.get(name) == content

    def _see(self, name: str) -> None:
        """Once: that pyarrow reads what fsspec has created, as settings of the two may name two places."""
        if self._wrapped or self._seen:
            return
        if self.get(name) is None:
            with suppress(Exception):
                self._fsspec.rm_file(self.path(name))
            legal = (
                f"a URI and an environment that send pyarrow and {type(self._fsspec).__name__} to one place"
            )
            raise InputError("store", shown(self.location), legal)
        self._seen = True

    @property
    def _wrapped(self) -> bool:
        """Whether the filesystem is fsspec's, for pyarrow has none of its own."""
        return isinstance(self.filesystem, pafs.PyFileSystem)

    @cached_property
    def _fsspec(self) -> Any:
        """fsspec's filesystem for the same place, with the same options.

        None where its package is not installed, it cannot be used as it is, or pyarrow alone has one.

        Raises:
            InputError: it cannot be given an option of the URI.
        """
        if self._wrapped:
            return self.filesystem.handler.fs
        import fsspec

        protocol = NATIVE.get(self.protocol)
        try:
            if not protocol or not fsspec.get_filesystem_class(protocol):
                return None
        except (ValueError, ImportError):
            return None
        options = for_fsspec(self.location)
        try:
            return fsspec.filesystem(protocol, **options)
        except (ValueError, ImportError, OSError):
            return None

    def _inside(self, folder: str) -> dict[str, int | None]:
        """What is directly inside a folder now: bytes of each file, None of each folder; no hidden ones."""
        path = self.path(folder)
        with self._naming(folder):
            if self._wrapped:
                found = self._listed(path)
            else:
                infos = self.filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
                found = {i.base_name: i.size if i.type == pafs.FileType.File else None for i in infos}
        return {name: size for name, size in found.items() if not name.startswith(".")}

    def _listed(self, path: str) -> dict[str, int | None]:
        """The same by fsspec, since pyarrow takes its filesystem for an empty one when that is away."""
        self._forget()
        try:
            infos = self._fsspec.ls(path, detail=True)
        except FileNotFoundError:
            return {}
        inside = [info for info in infos if info["name"].strip("/") != path.strip("/")]
        return {
            i["name"].strip("/").split("/")[-1]: i["size"] if i["type"] == "file" else None for i in inside
        }

    def _forget(self) -> None:
        """Have fsspec forget its listings, in which files of other processes are missing."""
        if self._wrapped:
            self._fsspec.invalidate_cache()

    def modified(self, name: str) -> float | None:
        """When a file was last written, in seconds, by the filesystem's own clock.

        None where there is no such file, or where the filesystem does not say.
        """
        try:
            if self.local:
                with (self.local / name).open("rb") as file:  # NFS asks the server when a file is opened
                    return os.fstat(file.fileno()).st_mtime
            if self._wrapped:
                self._forget()
                return float(self._fsspec.modified(self.path(name)).timestamp())
        except (FileNotFoundError, NotImplementedError):
            return None
        with self._naming(name):
            found = self.filesystem.get_file_info(self.path(name)).mtime_ns
        return found / 1e9 if found is not None else None

    def get(self, name: str) -> bytes | None:
        """A file's content, None where there is no such file."""
        if self.local:
            with suppress(FileNotFoundError), open(self.path(name), "rb") as file:
                return file.read()
            return None
        try:
            if self._wrapped:  # streams of fsspec's memory share one position
                return bytes(self._fsspec.cat_file(self.path(name)))
            with self._naming(name), self.filesystem.open_input_stream(self.path(name)) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        if self.local:
            with suppress(FileNotFoundError, NotADirectoryError):  # a store that is away raises
                return stat.S_ISREG(os.stat(self.path(name)).st_mode)
            return False
        self._forget()
        with self._naming(name):
            info = self.filesystem.get_file_info(self.path(name))
        return bool(info.type == pafs.FileType.File)

    def names(self, folder: str) -> list[str]:
        """Names of the files and folders directly inside a folder, sorted; none where it is not there."""
        if self.local:
            try:
                return sorted(n for n in os.listdir(self.local / folder) if not n.startswith("."))
            except FileNotFoundError:
                return []
        return sorted(self._inside(folder))

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of the files directly inside a folder, by name; none where it is not there."""
        return {name: size for name, size in self._inside(folder).items() if size is not None}

    def remove(self, name: str) -> None:
        """Delete a file; nothing where there is none."""
        if self.local:
            with suppress(FileNotFoundError):
                os.unlink(self.path(name))
            return
        try:
            with self._naming(name):
                self.filesystem.delete_file(self.path(name))
        except FileNotFoundError:
            return

    def remove_folder(self, name: str) -> None:
        """Delete a folder and what is in it; nothing where there is none."""
        self._forget()
        try:
            with self._naming(name):
                self.filesystem.delete_dir(self.path(name))
        except FileNotFoundError:
            return

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Errors of the filesystem name the file: pyarrow's and a full disk's do not."""
        path = self.path(name)  # a store that cannot be opened names itself
        try:
            yield
        except OSError as error:
            if error.filename is not None and str(error.filename) == path:
                raise
            why = error.strerror or str(error) or type(error).__name__
            raise type(error)(error.errno or errno.EIO, why, path) from error
        except pa.ArrowException as error:
            if type(error) is not pa.ArrowException:
                raise
            raise OSError(errno.EIO, first_line(error), path) from error  # of Azure's library: no token, say


def _create_local(path: Path, content: bytes) -> bool:
    """Create a local file exclusively and whole."""
    if path.exists():
        return False  # the same would come of a link, at ten times the price
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
        os.link(temporary, path)
        return True
    except FileExistsError:
        return os.stat(temporary).st_nlink == 2  # NFS may answer so to a link that it has made
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        return _create_unlinked(path, content)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _create_unlinked(path: Path, content: bytes) -> bool:
    """Where a filesystem has no links: exclusive, but a reader may see the file empty for a moment."""
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _exclusively(filesystem: Any) -> dict[str, Any] | None:
    """What a filesystem of fsspec is told to create a file exclusively; None where it cannot.

    Its base class looks first, then writes. adlfs sends ``overwrite=False`` as a condition of the put.
    """
    import fsspec

    put = getattr(filesystem, "_pipe_file", filesystem.pipe_file)
    base, known = fsspec.AbstractFileSystem.pipe_file, inspect.signature(put).parameters
    if "mode" in known and getattr(put, "__func__", put) is not base:
        return {"mode": "create"}
    return {"overwrite": False} if "abfs" in filesystem.protocol and "overwrite" in known else None
