from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torchvision.datasets
from scipy.io import savemat

from engine.data.svhn import TEST, TRAIN, Config
from engine.errors import InputError
from engine.settings import Count

X = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 5), dtype=np.uint8)
Y = np.array([[10], [1], [9], [2], [10]], dtype=np.uint8)


def mat(**columns: np.ndarray) -> bytes:
    raw = io.BytesIO()
    savemat(raw, columns, do_compression=True)
    return raw.getvalue()


CONTENT = {TRAIN: mat(X=X[..., :3], y=Y[:3]), TEST: mat(X=X[..., 3:], y=Y[3:])}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class Tiny(Config):
    counts: ClassVar[tuple[int, int]] = (3, 2)
    digests: ClassVar[dict[str, str]] = {name: md5(content) for name, content in CONTENT.items()}

    validation: Count = 1


TINY = Tiny(name="svhn")


def put(root: Path, folder: str = "svhn", content: dict[str, bytes] = CONTENT) -> Path:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name, held in content.items():
        (root / folder / name).write_bytes(held)
    return root / folder


@pytest.mark.parametrize("folder", ["svhn", "."])
def test_torchvision_reads_the_same(tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"train": ["", TRAIN, md5(CONTENT[TRAIN])], "test": ["", TEST, md5(CONTENT[TEST])]}
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", listed)
    place = put(tmp_path, folder)
    assert TINY.missing(tmp_path) == []
    for half, split in zip(TINY.halves(tmp_path), ("train", "test"), strict=True):
        theirs = torchvision.datasets.SVHN(str(place), split=split)
        assert np.array_equal(half[0], theirs.data)
        assert np.array_equal(half[1], theirs.labels)
        assert half[0].flags.c_contiguous


def test_the_last_training_images_are_held_out(tmp_path: Path) -> None:
    put(tmp_path)
    splits = TINY.convert(tmp_path).splits
    assert [splits[s].y.tolist() for s in ("train", "val", "test")] == [[0, 1], [9], [2, 0]]


def test_what_is_declared_is_what_torchvision_publishes() -> None:
    listed = torchvision.datasets.SVHN.split_list
    assert Config.digests == {name: digest for _, name, digest in (listed["train"], listed["test"])}


def test_the_split() -> None:
    assert tuple(Config(name="svhn").info().sizes.values()) == (66_000, 7_257, 26_032)


def test_a_file_that_is_not_the_published_one(tmp_path: Path) -> None:
    for content in (CONTENT[TRAIN][:-9], b"", CONTENT[TEST], bytes(10_000_000)):
        path = put(tmp_path, content={**CONTENT, TRAIN: content}) / TRAIN
        with pytest.raises(InputError, match="content with MD5") as raised:
            TINY.convert(tmp_path)
        text = str(raised.value)
        assert text.startswith(str(path))
        assert f"{TRAIN} as published (MD5 {TINY.digests[TRAIN]})" in text
        assert "\n" not in text


BAD: dict[str, tuple[bytes, str]] = {
    "noise": (b"\xff" * 900, "cannot be read"),
    "nothing": (b"", "cannot be read"),
    "cut": (CONTENT[TRAIN][: len(CONTENT[TRAIN]) // 2], "cannot be read"),
    "no labels": (mat(X=X[..., :3]), "a file without 'y'"),
    "one label short": (mat(X=X[..., :3], y=Y[:2]), r"y of shape \(2, 1\)"),
    "one image short": (mat(X=X[..., :2], y=Y[:3]), r"X uint8 of shape \(32, 32, 3, 2\)"),
    "floats": (mat(X=X[..., :3] / 2, y=Y[:3]), "X float64"),
    "label 0": (mat(X=X[..., :3], y=Y[:3] % 10), "3 labels 1 to 10"),
    "label 11": (mat(X=X[..., :3], y=Y[:3] + 1), "3 labels 1 to 10"),
}


@pytest.mark.parametrize("kind", BAD)
def test_content_of_the_wrong_kind(tmp_path: Path, kind: str) -> None:
    content, says = BAD[kind]

    class Other(Tiny):
        digests: ClassVar[dict[str, str]] = {**Tiny.digests, TRAIN: md5(content)}

    path = put(tmp_path, content={**CONTENT, TRAIN: content}) / TRAIN
    with pytest.raises(InputError, match=says) as raised:
        Other(name="svhn").convert(tmp_path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (put(tmp_path) / TEST).unlink()
    assert TINY.missing(tmp_path) == [str(tmp_path / "svhn" / TEST)]
    with pytest.raises(InputError, match=rf"{TEST} is missing .*run `perturb data svhn`"):
        TINY.convert(tmp_path)
