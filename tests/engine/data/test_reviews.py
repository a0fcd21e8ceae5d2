from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.data.reviews import Review, read_reviews
from engine.errors import InputError

FOLDERS = ("train/neg", "train/pos", "test/neg", "test/pos")
PUBLISHED = {f"aclImdb/{folder}/{i}_5.txt": f"{folder} {i}".encode() for folder in FOLDERS for i in range(2)}
OTHERS = {
    "aclImdb/README": b"read me",
    "aclImdb/train/unsup/0_0.txt": b"unlabelled",
    "aclImdb/train/pos/notes.md": b"no review",
    "aclImdb/train/labeledBow.feat": b"no review",
}


def pack(path: Path, files: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return path


def link(name: str, target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    return entry


def unpack(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root / "aclImdb"


def test_archive_and_folder_hold_the_same_reviews(tmp_path: Path) -> None:
    shuffled = dict(reversed({**PUBLISHED, **OTHERS}.items()))
    reviews = read_reviews(pack(tmp_path / "a.tar.gz", shuffled), each=2)
    assert reviews == read_reviews(unpack(tmp_path, shuffled), each=2)
    assert reviews[0] == Review("test/neg/0_5.txt", 0, b"test/neg 0")
    assert reviews[-1] == Review("train/pos/1_5.txt", 1, b"train/pos 1")
    assert [review.path for review in reviews] == sorted(review.path for review in reviews)


def test_reading_an_archive_writes_nothing(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", PUBLISHED)
    read_reviews(archive, each=2)
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize(
    "name", ["../train/pos/9_9.txt", "aclImdb/../../x.txt", "/aclImdb/train/pos/9_9.txt"]
)
def test_a_path_outside_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path / "sub.tar.gz", {**PUBLISHED, name: b"evil"})
    with pytest.raises(InputError, match="a path outside the archive"):
        read_reviews(archive, each=2)
    assert list(tmp_path.iterdir()) == [archive]


def test_a_link_is_refused_and_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    name = "aclImdb/train/pos/9_9.txt"
    archive = pack(tmp_path / "a.tar.gz", {**PUBLISHED, name: link(name, str(secret))})
    with pytest.raises(InputError, match=r"9_9.txt: a link or huge file"):
        read_reviews(archive, each=2)


def test_a_huge_review_is_refused(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", {**PUBLISHED, "aclImdb/train/pos/9_9.txt": bytes(2 << 20)})
    with pytest.raises(InputError, match="a link or huge file"):
        read_reviews(archive, each=2)


def test_damaged_archives(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", PUBLISHED)
    whole = archive.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:40] + b"\xff" * 40 + whole[80:], b"no archive", b""):
        archive.write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read") as raised:
            read_reviews(archive, each=2)
        assert str(raised.value).startswith(str(archive))


def test_missing_reviews_are_counted(tmp_path: Path) -> None:
    folder = unpack(tmp_path, PUBLISHED)
    (folder / "test/pos/0_5.txt").unlink()
    with pytest.raises(InputError, match=r"aclImdb: test/pos: 1 reviews is not legal: 2 reviews"):
        read_reviews(folder, each=2)
