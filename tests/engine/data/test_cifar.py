from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torchvision.datasets

from engine.data.cifar import CifarConfig, read_pickle
from engine.data.cifar10 import Config as Cifar10
from engine.data.cifar100 import Config as Cifar100
from engine.errors import InputError
from engine.settings import Count

X = np.random.default_rng(0).integers(0, 256, (6, 12), dtype=np.uint8)
FOLDER, ARCHIVE = "tiny-batches-py", "tiny-python.tar.gz"


def python2_pickle(x: np.ndarray, labels: list[int]) -> bytes:
    """As Python 2 and an old numpy wrote it: protocol 2, bytes as text, numpy.core."""
    text = lambda s: b"U" + bytes([len(s)]) + s.encode("latin1")  # noqa: E731  SHORT_BINSTRING
    pixels = x.tobytes()
    return b"".join(
        [
            b"\x80\x02}(",
            text("labels"),
            pickle.dumps(labels, 2)[2:-1],
            text("data"),
            b"cnumpy.core.multiarray\n_reconstruct\n",
            b"(cnumpy\nndarray\nK\x00\x85" + text("b") + b"tR",
            b"(K\x01" + pickle.dumps(x.shape, 2)[2:-1],
            b"cnumpy\ndtype\n(" + text("u1") + b"K\x00K\x01tR(K\x03" + text("|") + b"NNNJ\xff\xff\xff\xff",
            b"J\xff\xff\xff\xffK\x00tb\x89",
            b"T" + len(pixels).to_bytes(4, "little") + pixels,  # BINSTRING
            b"tbu.",
        ]
    )


CONTENT = {
    "batch_1": python2_pickle(X[:2], [0, 1]),
    "batch_2": python2_pickle(X[2:4], [1, 2]),
    "test": pickle.dumps({"data": X[4:], "labels": [2, 0]}),
}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class Tiny(CifarConfig):
    published: ClassVar[str] = "Tiny"
    archive: ClassVar[tuple[str, str]] = (ARCHIVE, "0" * 32)
    folder: ClassVar[str] = FOLDER
    digests: ClassVar[dict[str, str]] = {name: md5(content) for name, content in CONTENT.items()}
    labels: ClassVar[str] = "labels"
    counts: ClassVar[tuple[int, int]] = (4, 2)
    shape: ClassVar[tuple[int, int, int]] = (3, 2, 2)
    classes: ClassVar[int] = 3

    validation: Count = 1


TINY = Tiny(name="tiny")


def accepting(content: bytes) -> Tiny:
    """A set that publishes other content of its first file."""

    class Other(Tiny):
        digests: ClassVar[dict[str, str]] = {**Tiny.digests, "batch_1": md5(content)}

    return Other(name="tiny")


def packed(content: dict[str, bytes], folder: str = FOLDER) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, held in {"batches.meta": b"not read", **content}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(held)
            tar.addfile(member, io.BytesIO(held))
    return raw.getvalue()


def put(root: Path, where: str, content: dict[str, bytes] = CONTENT) -> Path:
    place = root / where
    place.parent.mkdir(parents=True, exist_ok=True)
    if where.endswith(ARCHIVE):
        place.write_bytes(packed(content))
    else:
        place.mkdir()
        for name, held in content.items():
            (place / name).write_bytes(held)
    return place


@pytest.mark.parametrize("where", [f"tiny/{ARCHIVE}", f"tiny/{FOLDER}", ARCHIVE, FOLDER])
def test_found_in_each_place_and_split_at_the_end(tmp_path: Path, where: str) -> None:
    put(tmp_path, where)
    assert TINY.missing(tmp_path) == []
    data = TINY.convert(tmp_path)
    assert {split: len(arrays.y) for split, arrays in data.splits.items()} == TINY.info().sizes
    assert [data.splits[s].y.tolist() for s in ("train", "val", "test")] == [[0, 1, 1], [2], [2, 0]]
    assert np.array_equal(data.splits["train"].x, X[:3].reshape(3, 3, 2, 2))
    assert np.array_equal(data.splits["test"].x, X[4:].reshape(2, 3, 2, 2))
    assert data.scale == 255
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file() and p.parent.name != FOLDER) == (
        [ARCHIVE] if where.endswith(ARCHIVE) else []
    )


def test_torchvision_reads_the_same(tmp_path: Path) -> None:
    """Its own class, told of our small files, is the oracle."""
    x = np.random.default_rng(1).integers(0, 256, (3, 3072), dtype=np.uint8)
    content = {
        name: pickle.dumps({"data": x[i : i + 1], "labels": [i]})
        for i, name in enumerate(("batch_1", "batch_2", "test"))
    }
    listed = [[name, md5(held)] for name, held in content.items()]
    names = pickle.dumps({"label_names": []})

    class Theirs(torchvision.datasets.CIFAR10):
        base_folder = FOLDER
        train_list: ClassVar = listed[:2]
        test_list: ClassVar = listed[2:]
        meta: ClassVar = {"filename": "meta", "key": "label_names", "md5": md5(names)}

    class Ours(Tiny):
        digests: ClassVar[dict[str, str]] = dict(listed)
        counts: ClassVar[tuple[int, int]] = (2, 1)
        shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)

    put(tmp_path, FOLDER, {**content, "meta": names})
    for half, train in zip(Ours(name="tiny").halves(tmp_path), (True, False), strict=True):
        theirs = Theirs(str(tmp_path), train=train)
        assert np.array_equal(theirs.data, half[0].transpose(0, 2, 3, 1))
        assert theirs.targets == half[1].tolist()


@pytest.mark.parametrize(("config", "theirs"), [(Cifar10, "CIFAR10"), (Cifar100, "CIFAR100")])
def test_what_is_declared_is_what_torchvision_publishes(config: type[CifarConfig], theirs: str) -> None:
    published = getattr(torchvision.datasets, theirs)
    assert config.published == theirs
    assert config.archive == (published.filename, published.tgz_md5)
    assert config.folder == published.base_folder
    assert list(config.digests.items()) == [tuple(f) for f in published.train_list + published.test_list]


def test_the_splits_of_the_papers() -> None:
    for config in (Cifar10(name="cifar10"), Cifar100(name="cifar100")):
        info = config.info()
        assert tuple(info.sizes.values()) == (40_000, 10_000, 10_000)
        assert info.shape == (3, 32, 32)
    assert (Cifar10(name="cifar10").info().classes, Cifar100(name="cifar100").info().classes) == (10, 100)


class Payload:
    def __init__(self, call: Callable[..., Any], *given: Any) -> None:
        self.call, self.given = call, given

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call, self.given


def test_no_code_in_a_pickle_is_run(tmp_path: Path) -> None:
    import builtins
    import os

    mark = tmp_path / "mark"
    for call in (os.system, builtins.eval, builtins.getattr, np.load, np.save):
        content = pickle.dumps(Payload(call, f"touch {mark}"))
        with pytest.raises(pickle.UnpicklingError, match=r"it calls \S+, which no published file does"):
            read_pickle(content)
    put(tmp_path, FOLDER, {**CONTENT, "batch_1": pickle.dumps(Payload(os.system, f"touch {mark}"))})
    evil = (tmp_path / FOLDER / "batch_1").read_bytes()
    with pytest.raises(InputError, match="a pickle that is not read") as raised:
        accepting(evil).convert(tmp_path)
    assert str(raised.value).startswith(str(tmp_path / FOLDER / "batch_1"))
    assert not mark.exists()


def test_attributes_of_what_is_allowed_are_not_reached() -> None:
    content = b"\x80\x04\x8c\x05numpy\x8c\x16ndarray.tofile.__doc__\x93."
    with pytest.raises(pickle.UnpicklingError, match="it calls"):
        read_pickle(content)


FILE: dict[str, tuple[bytes | None, str]] = {
    "cut": (CONTENT["batch_1"][:-3], "content with MD5"),
    "another batch": (CONTENT["batch_2"], "content with MD5"),
    "empty": (b"", "content with MD5"),
    "gone": (None, "cannot be read|without the file"),
}
CONTENTS: dict[str, tuple[Any, str]] = {
    "noise": (b"\xff" * 50, "a pickle that is not read"),
    "cut pickle": (CONTENT["batch_1"][:-3], "a pickle that is not read"),
    "a list": ([1, 2], r"images \(none\) without labels"),
    "no labels": ({"data": X[:2]}, r"uint8 of shape \(2, 12\)\) without labels"),
    "too few": ({"data": X[:1], "labels": [0, 1]}, r"shape \(1, 12\)"),
    "floats": ({"data": X[:2] / 2, "labels": [0, 1]}, "float64"),
    "other shape": ({"data": X[:2, :11], "labels": [0, 1]}, r"shape \(2, 11\)"),
    "class beyond": ({"data": X[:2], "labels": [0, 3]}, "2 labels, 0 to 3"),
    "class below": ({"data": X[:2], "labels": [0, -1]}, "2 labels, -1 to 0"),
    "true": ({"data": X[:2], "labels": [True, 1]}, "2 labels"),
    "text": ({"data": X[:2], "labels": ["a", "b"]}, "2 labels, a to b"),
}


@pytest.mark.parametrize("where", [FOLDER, ARCHIVE])
@pytest.mark.parametrize("kind", FILE)
def test_a_file_that_is_not_the_published_one(tmp_path: Path, kind: str, where: str) -> None:
    content, says = FILE[kind]
    held = {name: value for name, value in {**CONTENT, "batch_1": content}.items() if value is not None}
    place = put(tmp_path, where, held)
    with pytest.raises(InputError, match=says) as raised:
        TINY.convert(tmp_path)
    text = str(raised.value)
    assert text.startswith(str(place))
    assert "batch_1 of tiny-python.tar.gz as published (MD5" in text
    assert "\n" not in text


@pytest.mark.parametrize("kind", CONTENTS)
def test_content_of_the_wrong_kind(tmp_path: Path, kind: str) -> None:
    entry, says = CONTENTS[kind]
    content = entry if isinstance(entry, bytes) else pickle.dumps(entry)
    put(tmp_path, FOLDER, {**CONTENT, "batch_1": content})
    with pytest.raises(InputError, match=says) as raised:
        accepting(content).convert(tmp_path)
    assert str(raised.value).startswith(str(tmp_path / FOLDER / "batch_1"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "folder"])
def test_a_damaged_archive_is_one_line_with_its_name(tmp_path: Path, damage: str) -> None:
    place = put(tmp_path, ARCHIVE)
    raw = place.read_bytes()
    content = {"cut": raw[: len(raw) // 2], "noise": b"\xff" * 99, "empty": b""}.get(damage)
    place.write_bytes(packed(CONTENT, "cifar-100-python") if content is None else content)
    says = f"without the file {FOLDER}/batch_1" if damage == "folder" else "cannot be read"
    with pytest.raises(InputError, match=says) as raised:
        TINY.convert(tmp_path)
    assert str(raised.value).startswith(str(place))
    assert "as published (MD5" in str(raised.value)


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT["batch_1"])
    with tarfile.open(tmp_path / ARCHIVE, "w:gz") as tar:
        for name in CONTENT:
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, str(secret)
            tar.addfile(member)
    with pytest.raises(InputError, match=f"without the file {FOLDER}/batch_1"):
        TINY.convert(tmp_path)


def test_a_huge_member_is_not_read_to_its_end(tmp_path: Path) -> None:
    put(tmp_path, ARCHIVE, {**CONTENT, "batch_1": bytes(2_000_000)})
    assert len(TINY._in_archive(tmp_path / ARCHIVE)["batch_1"]) < 100_000


def test_a_missing_archive_says_where_and_how(tmp_path: Path) -> None:
    assert TINY.missing(tmp_path) == [str(tmp_path / "tiny" / ARCHIVE)]
    with pytest.raises(InputError, match=rf"{ARCHIVE} is missing .*run `perturb data tiny`"):
        TINY.convert(tmp_path)


@pytest.mark.parametrize("validation", [4, 5])
def test_some_images_have_to_be_left_for_training(validation: int) -> None:
    with pytest.raises(ValueError, match=rf"data.validation: {validation} is not legal: below 4"):
        Tiny(name="tiny", validation=validation)
