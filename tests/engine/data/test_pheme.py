from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from engine.data import pheme
from engine.data.base import Split
from engine.data.threads import Thread, read_threads
from engine.errors import InputError

TOP = "all-rnr-annotated-threads"


class Small(pheme.Config):
    sizes: ClassVar[dict[Split, int]] = {"train": 8, "val": 2, "test": 2}


def tweet(event: str, label: str, number: int, source: str = "source-tweets") -> tuple[str, bytes]:
    content = {"id": number, "text": f"{label} {number} of {event} \N{SNOWMAN}"}
    return f"{TOP}/{event}/{label}/{number}/{source}/{number}.json", json.dumps(content).encode()


FILES = dict(
    tweet(event, label, number)
    for event in ("siege", "crash")
    for label, count in (("rumours", 2), ("non-rumours", 4))
    for number in range(count)
)
OTHERS = {
    f"{TOP}/siege/rumours/0/reactions/9.json": b"{",
    f"{TOP}/siege/rumours/0/source-tweets/._0.json": b"\0",
    f"{TOP}/siege/rumours/0/annotation.json": b"{",
    f"{TOP}/._siege": b"\0",
}


def pack(path: Path, files: dict[str, bytes], kind: str = "w:bz2") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, kind) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def unpack(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root / TOP


@pytest.mark.parametrize("kind", ["w:bz2", "w:gz", "w:xz", "w"])
def test_archive_and_folder_hold_the_same_threads(kind: str, tmp_path: Path) -> None:
    files = dict(reversed({**FILES, **OTHERS}.items()))
    threads = read_threads(pack(tmp_path / "a.tar", files, kind))
    assert threads == read_threads(unpack(tmp_path, files))
    assert threads == sorted(threads)
    assert threads[0] == Thread("crash/non-rumours/0/0.json", 0, "non-rumours 0 of crash \N{SNOWMAN}")
    assert [thread.label for thread in threads] == [0, 0, 0, 0, 1, 1] * 2


def test_the_folder_of_the_earlier_collection(tmp_path: Path) -> None:
    files = dict([tweet("siege", "rumours", 3, "source-tweet")])
    assert read_threads(unpack(tmp_path, files))[0].label == 1


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"id": 1}', b'{"text": null}', b"\xff"])
def test_a_damaged_tweet_is_named(content: bytes, tmp_path: Path) -> None:
    name = next(iter(FILES))
    archive = pack(tmp_path / "a.tar.bz2", {**FILES, name: content})
    with pytest.raises(InputError, match=r"JSON with a text") as raised:
        read_threads(archive)
    assert str(raised.value).startswith(f"{archive}: {name}: ")


def test_a_damaged_archive_and_a_path_outside(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.bz2", {**FILES, f"../siege/rumours/7/{TOP}/7.json": b"{}"})
    with pytest.raises(InputError, match="a path outside the archive"):
        read_threads(archive)
    whole = archive.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"no archive", b""):
        archive.write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read"):
            read_threads(archive)


def accepted(root: Path) -> Small:
    with pytest.raises(InputError, match=r"^data\.content_hash: 0{64} is not legal: .* accepts") as raised:
        Small(name="pheme").convert(root)
    found = re.findall(r"content_hash: ([0-9a-f]{64})`", str(raised.value))[0]
    return Small(name="pheme", content_hash=found)


def test_the_split_is_by_class(tmp_path: Path) -> None:
    pack(tmp_path / "pheme/PHEME_veracity.tar.bz2", FILES)
    data = accepted(tmp_path).convert(tmp_path)
    counts = {split: np.bincount(arrays.y, minlength=2).tolist() for split, arrays in data.splits.items()}
    assert counts["train"] == [5, 3]
    assert np.sum(list(counts.values()), axis=0).tolist() == [8, 4]
    arrays = data.splits["train"]
    assert arrays.offsets is not None
    firsts = [data.words[t] for t in arrays.x[arrays.offsets[:-1]]]
    assert [word == "rumours" for word in firsts] == arrays.y.astype(bool).tolist()


def test_a_csv_file(tmp_path: Path) -> None:
    rows = [f"it is {i},{'rumour' if i % 3 == 0 else 'non-rumour'}" for i in range(12)]
    (tmp_path / "pheme").mkdir()
    (tmp_path / "pheme/pheme.csv").write_text("\n".join(["text,label", *rows]))
    y = accepted(tmp_path).convert(tmp_path).splits
    assert sum(int(arrays.y.sum()) for arrays in y.values()) == 4
    (tmp_path / "pheme/pheme.csv").write_text("\n".join(["text,label", *(f"a,{0}" for _ in rows)]))
    with pytest.raises(InputError, match="tweets of one class is not legal: rumours and non-rumours"):
        Small(name="pheme").convert(tmp_path)


def test_another_number_of_tweets(tmp_path: Path) -> None:
    pack(tmp_path / "pheme/PHEME_veracity.tar.bz2", dict(list(FILES.items())[1:]))
    with pytest.raises(InputError, match=r"bz2: 11 source tweets is not legal: 12, of nine events"):
        Small(name="pheme").convert(tmp_path)


def test_sizes_are_those_of_the_released_data() -> None:
    assert pheme.Config(name="pheme").info().sizes == {"train": 5_145, "val": 637, "test": 643}
