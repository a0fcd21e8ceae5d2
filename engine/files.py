"""Folders that the environment names, and writing a file so that no reader sees half of it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

RESUME = "resume.pt"
"""A trial's checkpoint in its folder: the point from which it can continue."""


def data_root() -> Path | None:
    """The folder with the data sets' files, from ``PERTURB_DATA``; None when it is not set."""
    value = os.environ.get("PERTURB_DATA")
    return Path(value).expanduser() if value else None


def cache_folder() -> Path:
    """Where converted data live on this node: ``PERTURB_CACHE``, else under the user's cache folder."""
    value = os.environ.get("PERTURB_CACHE")
    if value:
        return Path(value).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "perturb-sweeps"


def write_atomic(path: Path, content: bytes | memoryview) -> None:
    """Write to a temporary file beside ``path``, flush it to disk, rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes 0600, which hides results from a lab's other users
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        if error.errno is not None and error.filename is None:  # a full disk does not name the file
            error.filename = str(path)
        raise
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
