"""Reading chosen files straight from a tar archive: nothing is unpacked, no link or outside path followed."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from engine.errors import InputError

UNREADABLE = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)
"""What a damaged or truncated archive raises while it is read."""


def members(
    archive: Path, wanted: Callable[[PurePosixPath], bool], longest: int, legal: str
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Path and content of the wanted files, in one pass, whatever the compression.

    Args:
        archive: the tar file. wanted: tells from its path whether a file is read.
        longest: bytes of a wanted file at most. legal: what a wanted file is, for messages.

    Raises:
        InputError: a path leads outside the archive, or what is wanted is a link or huge; names it.
        any of :data:`UNREADABLE`: the archive is damaged.
    """
    with tarfile.open(archive, mode="r|*") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts:
                legal_path = "paths inside it; fetch it again from its publisher"
                raise InputError(f"{archive}: {member.name}", "a path outside the archive", legal_path)
            if not wanted(path) or member.isdir():
                continue
            file = tar.extractfile(member) if member.isreg() and member.size <= longest else None
            if file is None:
                raise InputError(f"{archive}: {member.name}", "a link or huge file", legal)
            yield path, file.read()
