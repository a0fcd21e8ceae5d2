"""Reading the source tweets of PHEME, from its folder or straight from its archive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from engine.data.archive import UNREADABLE, members
from engine.errors import InputError

_LABELS = {"non-rumours": 0, "rumours": 1}
_SOURCE = ("source-tweets", "source-tweet")  # of the collections of 2018 and of 2016
_LONGEST = 1 << 20  # bytes; a tweet with all its fields has some 10,000


class Thread(NamedTuple):
    """The tweet that a conversation starts with.

    Attributes:
        path: ``<event>/<rumours or non-rumours>/<thread>/<tweet>.json``.
        label: 1 for a rumour, 0 for none. text: of the tweet.
    """

    path: str
    label: int
    text: str


def read_threads(source: Path) -> list[Thread]:
    """The source tweet of every thread, sorted by path.

    An archive is read in one pass; nothing is unpacked to disk and no link is followed. What a Mac adds
    (``._*``) is passed over.

    Args:
        source: the folder that holds one folder for each event, or an archive of it.

    Raises:
        InputError: the source cannot be read, or a tweet in it is damaged; names it.
    """
    try:
        found = _in_folder(source) if source.is_dir() else _in_archive(source)
        return sorted(_thread(source, path, content) for path, content in found)
    except UNREADABLE as error:
        legal = "the PHEME archive or folder as published; fetch it again"
        raise InputError(str(source), f"what cannot be read ({error})", legal) from error


def _in_folder(folder: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    for label in _LABELS:
        for path in folder.glob(f"*/{label}/*/source-tweet*/*.json"):
            if _wanted(PurePosixPath(path.relative_to(folder.parent))):
                yield PurePosixPath(path.relative_to(folder)), path.read_bytes()


def _in_archive(archive: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    return members(archive, _wanted, _LONGEST, "a file with one tweet")


def _wanted(path: PurePosixPath) -> bool:
    """Whether it is ``.../<event>/rumours/<thread>/source-tweets/<tweet>.json``."""
    parts = path.parts
    right = len(parts) >= 5 and parts[-4] in _LABELS and parts[-2] in _SOURCE
    return right and path.suffix == ".json" and not path.name.startswith(".")


def _thread(source: Path, path: PurePosixPath, content: bytes) -> Thread:
    event, label, thread, _, name = path.parts[-5:]
    try:
        text = json.loads(content)["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{source}: {path}", f"no tweet ({error!r})", "JSON with a text") from error
    if not isinstance(text, str):
        raise InputError(f"{source}: {path}", f"a text that is {type(text).__name__}", "JSON with a text")
    return Thread(f"{event}/{label}/{thread}/{name}", _LABELS[label], text)
