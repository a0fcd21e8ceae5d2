from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from engine.data.base import Converted
from engine.data.extra import UNKNOWN, ExtraConfig, _dense, extra_hash
from engine.data.store import open_data
from engine.errors import DataMissing, InputError
from engine.files import file_hash

SHAPE = (3, 2, 4)
X = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
Y = np.array([0, 1, 2, 1, 0])
HWC = X.transpose(0, 2, 3, 1)


def read(path: Path, labels: bool = False) -> Converted:
    return open_data(ExtraConfig(path=path, shape=SHAPE, classes=3, labels=labels))


def npz(path: Path, **columns: Any) -> Path:
    np.savez_compressed(path, **columns)
    return path


@pytest.mark.parametrize("name", ["image", "x"])
@pytest.mark.parametrize("label", ["label", "y", "extrapolated_targets", "extrapolated_target"])
@pytest.mark.parametrize("images", [X, HWC], ids=["NCHW", "NHWC"])
def test_npz(tmp_path: Path, name: str, label: str, images: np.ndarray) -> None:
    path = npz(tmp_path / "e.npz", **{name: images, label: Y.astype(np.int32), "other": np.array(["a"])})
    plain, labelled = read(path), read(path, labels=True)
    for data in (plain, labelled):
        assert np.array_equal(data.splits["train"].x, X)
        assert data.scale == 255
    assert plain.splits["train"].y.tolist() == [UNKNOWN] * 5
    assert labelled.splits["train"].y.tolist() == Y.tolist()


def tensors(images: np.ndarray) -> pa.Array:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(images))


def fixed(images: np.ndarray) -> pa.Array:
    values = pa.array(images.reshape(-1))
    for size in reversed(images.shape[1:]):
        values = pa.FixedSizeListArray.from_arrays(values, size)
    return values


COLUMNS: dict[str, Callable[[], pa.Array]] = {
    "tensor": lambda: tensors(X),
    "tensor NHWC": lambda: tensors(HWC),
    "lists": lambda: pa.array(HWC.tolist(), pa.list_(pa.list_(pa.list_(pa.uint8())))),
    "fixed lists": lambda: fixed(X),
    "flat": lambda: pa.array([row.tolist() for row in X.reshape(5, -1)], pa.list_(pa.uint8())),
}


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather", "ipc"])
@pytest.mark.parametrize("kind", COLUMNS)
def test_arrow_and_parquet(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"e.{suffix}"
    table = pa.table({"image": COLUMNS[kind](), "label": Y})
    if suffix == "parquet":
        parquet.write_table(table, path, row_group_size=2)
    else:
        feather.write_feather(table, path, compression="uncompressed", chunksize=2)
    data = read(path, labels=True).splits["train"]
    assert np.array_equal(data.x, X)
    assert data.y.tolist() == Y.tolist()


@pytest.mark.parametrize("kind", [k for k in COLUMNS if "NHWC" not in k and k != "lists"])
def test_chunks_and_slices_of_a_column(kind: str) -> None:
    """A slice has offsets into what it was cut from."""
    column = pa.chunked_array([COLUMNS[kind]().slice(1, 2), COLUMNS[kind]().slice(3, 1)])
    assert np.array_equal(_dense(column).reshape(3, *SHAPE), X[1:4])


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no images": ({"pixels": X}, "image: none is not legal: an array `image` or `x`, uint8 of shape"),
    "floats": ({"image": X / 255}, r"float64 of shape \(5, 3, 2, 4\)"),
    "other size": (
        {"image": X[:, :, :, :3]},
        r"uint8 of shape \(5, 3, 2, 3\).*\(N, 3, 2, 4\) or \(N, 2, 4, 3\)",
    ),
    "grey": ({"image": X[:, 0]}, r"uint8 of shape \(5, 2, 4\)"),
    "one image": ({"image": X[0]}, r"uint8 of shape \(3, 2, 4\)"),
    "empty": ({"image": X[:0]}, r"uint8 of shape \(0, 3, 2, 4\)"),
    "objects": ({"image": np.array([None])}, "cannot be read"),
    "no labels": ({"image": X}, "label: none is not legal: 5 whole numbers below 3"),
    "few labels": ({"image": X, "label": Y[:4]}, r"int64 of shape \(4,\) from 0 to 2"),
    "class beyond": ({"image": X, "label": Y + 1}, "from 1 to 3"),
    "class below": ({"image": X, "label": Y - 1}, "from -1 to 1"),
    "soft labels": ({"image": X, "label": Y / 2}, r"float64 of shape \(5,\)"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_wrong_array_is_one_line_with_the_file(tmp_path: Path, kind: str) -> None:
    columns, says = BAD[kind]
    path = npz(tmp_path / "e.npz", **columns)
    with pytest.raises(InputError, match=says) as raised:
        read(path, labels=True)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("suffix", ["npz", "parquet", "arrow", "feather"])
@pytest.mark.parametrize("damage", ["empty", "noise", "cut"])
def test_a_damaged_file(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"e.{suffix}"
    table = pa.table({"image": tensors(X)})
    if suffix == "npz":
        npz(path, image=X)
    elif suffix == "parquet":
        parquet.write_table(table, path)
    else:
        feather.write_feather(table, path)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "noise": b"\xff" * 200, "cut": whole[: len(whole) // 2]}[damage])
    with pytest.raises(InputError, match="a file that cannot be read") as raised:
        read(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_ragged_lists(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    parquet.write_table(pa.table({"image": pa.array([[1, 2], [3]], pa.list_(pa.uint8()))}), path)
    with pytest.raises(InputError, match="images are not of one shape"):
        read(path)


def test_an_npy_file_or_a_pickle_in_disguise(tmp_path: Path) -> None:
    path = tmp_path / "e.npz"
    with path.open("wb") as file:
        np.save(file, X)
    with pytest.raises(InputError, match="no zip archive"):
        read(path)
    with pytest.raises(
        InputError, match=r"data.extra: .*e.pickle is not legal: a file whose name ends in .npz"
    ):
        read(path.rename(tmp_path / "e.pickle"))


def test_the_hash_follows_the_file(tmp_path: Path) -> None:
    path = npz(tmp_path / "e.npz", image=X)
    first = extra_hash(path)
    assert first == file_hash(path)
    npz(path, image=X[:4])
    assert extra_hash(path) == file_hash(path) != first
    assert len(read(path).splits["train"].y) == 4


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"data.extra: .*gone.npz is not legal: a file on this machine"):
        read(tmp_path / "gone.npz")
