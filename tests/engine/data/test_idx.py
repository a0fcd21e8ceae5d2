from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from engine.data.idx import FILES, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, IdxConfig, read_idx
from engine.errors import InputError
from engine.settings import Count


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


IMAGES = np.arange(12 * 4, dtype=np.uint8).reshape(12, 2, 2)
CONTENT = {
    TRAIN_IMAGES: idx(IMAGES[:8]),
    TRAIN_LABELS: idx(np.arange(8, dtype=np.uint8)),
    TEST_IMAGES: idx(IMAGES[8:]),
    TEST_LABELS: idx(np.arange(4, dtype=np.uint8)),
}


class Tiny(IdxConfig):
    published: ClassVar[str] = "Tiny"
    digests: ClassVar[dict[str, str]] = {n: hashlib.sha256(c).hexdigest() for n, c in CONTENT.items()}
    counts: ClassVar[tuple[int, int]] = (8, 4)
    shape: ClassVar[tuple[int, int, int]] = (1, 2, 2)

    validation: Count = 3


TINY = Tiny(name="tiny")


def put(root: Path, folder: str = "tiny/Tiny/raw", packed: bool = True) -> Path:
    place = root / folder
    place.mkdir(parents=True)
    for name, content in CONTENT.items():
        if packed:
            (place / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (place / name).write_bytes(content)
    return place


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("folder", ["tiny/Tiny/raw", "Tiny/raw", "tiny"])
def test_found_in_each_folder_and_split_at_the_end(tmp_path: Path, folder: str, packed: bool) -> None:
    put(tmp_path, folder, packed)
    assert TINY.missing(tmp_path) == []
    data = TINY.convert(tmp_path)
    assert {split: len(arrays.y) for split, arrays in data.splits.items()} == TINY.info().sizes
    assert data.splits["train"].y.tolist() == [0, 1, 2, 3, 4]
    assert data.splits["val"].y.tolist() == [5, 6, 7]
    assert np.array_equal(data.splits["test"].x, IMAGES[8:, None])


def test_one_missing_file_is_named(tmp_path: Path) -> None:
    (put(tmp_path) / f"{TEST_LABELS}.gz").unlink()
    assert TINY.missing(tmp_path) == [str(tmp_path / "tiny/Tiny/raw" / TEST_LABELS)]
    with pytest.raises(InputError, match=rf"{TEST_LABELS}\[.gz\] is missing.*perturb data tiny"):
        TINY.convert(tmp_path)


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated archive": (lambda raw: gzip.compress(raw)[:-9], "cannot be read"),
    "corrupt archive": (lambda raw: gzip.compress(raw)[:20] + b"\xff" * 40, "cannot be read"),
    "no archive": (lambda raw: raw, "cannot be read"),
    "flipped checksum": (lambda raw: gzip.compress(raw)[:-8] + bytes(8), "cannot be read"),
    "empty": (lambda raw: gzip.compress(b""), "starts with nothing instead of 00000803"),
    "labels for images": (lambda _: gzip.compress(CONTENT[TRAIN_LABELS]), "starts with 00000801"),
    "test images": (lambda _: gzip.compress(CONTENT[TEST_IMAGES]), "an array of 4x2x2"),
    "header cut": (lambda raw: gzip.compress(raw[:10]), "an array of 8x0x0"),
    "data cut": (lambda raw: gzip.compress(raw[:-1]), "fewer than 48 bytes"),
    "data appended": (lambda raw: gzip.compress(raw + b"1"), "more than 48 bytes"),
    "one pixel changed": (lambda raw: gzip.compress(raw[:-1] + b"\0"), "content with SHA-256"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_bad_file_is_one_line_with_its_name_and_what_was_expected(tmp_path: Path, kind: str) -> None:
    change, says = DAMAGE[kind]
    path = put(tmp_path) / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(change(CONTENT[TRAIN_IMAGES]))
    with pytest.raises(InputError, match=says) as raised:
        TINY.convert(tmp_path)
    text = str(raised.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert f"{TRAIN_IMAGES} as published (8x2x2 bytes)" in text


def test_a_huge_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx(np.zeros(4, np.uint8)) + bytes(50_000_000)))
    with pytest.raises(InputError, match="more than 12 bytes"):
        read_idx(path, (4,), "")


def test_the_content_hash_depends_on_each_file() -> None:
    class Other(Tiny):
        digests: ClassVar[dict[str, str]] = {**Tiny.digests, FILES[3]: "0" * 64}

    assert Other(name="tiny").content() != TINY.content()
