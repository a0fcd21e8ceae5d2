"""Reading the reviews of aclImdb, from its folder or straight from its archive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from engine.data.archive import UNREADABLE, members
from engine.errors import InputError

_LABELS = {"neg": 0, "pos": 1}
_LONGEST = 1 << 20  # bytes; the longest published review has 13,704


class Review(NamedTuple):
    """One review.

    Attributes:
        path: where it was published, e.g. ``test/neg/0_2.txt``.
        label: 0 for a negative review, 1 for a positive one.
        text: its bytes (UTF-8).
    """

    path: str
    label: int
    text: bytes


def read_reviews(source: Path, each: int) -> list[Review]:
    """The labelled reviews of both published halves, sorted by published path.

    An archive is read in one pass; nothing is unpacked to disk and no link is followed.

    Args:
        source: folder ``aclImdb``, or an archive that holds it.
        each: reviews expected in each of train/neg, train/pos, test/neg and test/pos.

    Raises:
        InputError: the source cannot be read, or holds something else; names it.
    """
    try:
        reviews = sorted(_in_folder(source) if source.is_dir() else _in_archive(source))
    except UNREADABLE as error:
        legal = "the aclImdb archive or folder as published; fetch it again"
        raise InputError(str(source), f"what cannot be read ({error})", legal) from error
    folders = [review.path.rpartition("/")[0] for review in reviews]
    for folder in ("train/neg", "train/pos", "test/neg", "test/pos"):
        if folders.count(folder) != each:
            legal = f"{each:,} reviews, as published in aclImdb; fetch it again"
            raise InputError(f"{source}: {folder}", f"{folders.count(folder):,} reviews", legal)
    return reviews


def _in_folder(folder: Path) -> Iterator[Review]:
    for half in ("train", "test"):
        for word, label in _LABELS.items():
            for path in (folder / half / word).glob("*.txt"):
                yield Review(f"{half}/{word}/{path.name}", label, path.read_bytes())


def _in_archive(archive: Path) -> Iterator[Review]:
    legal = "a file with one review"
    for path, text in members(archive, lambda path: _published(path) is not None, _LONGEST, legal):
        review = _published(path)
        assert review is not None
        yield Review(review, _LABELS[path.parts[2]], text)


def _published(path: PurePosixPath) -> str | None:
    """``train/pos/0_9.txt`` for ``aclImdb/train/pos/0_9.txt``, None for what is no labelled review."""
    parts = path.parts
    if len(parts) != 4 or parts[0] != "aclImdb" or path.suffix != ".txt":
        return None
    return "/".join(parts[1:]) if parts[1] in ("train", "test") and parts[2] in _LABELS else None
