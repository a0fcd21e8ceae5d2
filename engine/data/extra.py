"""A file of further images, without labels or with pseudo-labels, that a trial learns from as well.

The file is ``.npz`` with an array ``image`` or ``x``, uint8 (N, C, H, W) or (N, H, W, C); or Arrow IPC
(``.arrow``, ``.feather``, ``.ipc``) or Parquet (``.parquet``) with such a column: a tensor of fixed shape or
nested lists of three dimensions, or a flat list of the C * H * W bytes of an image, in that order. Labels,
where they are used, are whole numbers in ``label``, ``y`` or ``extrapolated_targets`` (RST's name).

Source of the use: Carmon et al. (2019), Unlabeled data improves adversarial robustness (RST).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from engine.data.base import Arrays, Converted, DataConfig, DataInfo
from engine.errors import DataMissing, InputError
from engine.files import data_root, file_hash

IMAGES, LABELS = ("image", "x"), ("label", "y", "extrapolated_targets", "extrapolated_target")
UNKNOWN = -1
"""The label of an image whose label is not used."""


def extra_path(path: Path) -> Path:
    """Where the file is: an absolute path, or one below the data folder.

    Raises:
        DataMissing: it is not there.
    """
    root = data_root()
    place = path if root is None else root / path
    if not place.is_file():
        where = "an absolute path, or one below PERTURB_DATA" + ("" if root else ", which is not set")
        raise DataMissing("data.extra", place, f"a file on this machine, given by {where}")
    return place


def extra_hash(path: Path) -> str:
    """SHA-256 of the file's bytes; read once by a process unless the file changes."""
    place = extra_path(path)
    about = place.stat()
    return _hash(place, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=8)
def _hash(place: Path, size: int, changed: int) -> str:
    return file_hash(place)


class ExtraConfig(DataConfig):
    """The file as a data set of one split, so that it is converted once and shared like any other.

    Attributes:
        path: the file. shape: (C, H, W) that its images must have. classes: labels must be below.
        labels: whether labels are read; without, all are :data:`UNKNOWN`.
    """

    choices: ClassVar[frozenset[str]] = DataConfig.choices | {"path"}

    name: Literal["extra"] = "extra"
    path: Path
    shape: tuple[int, int, int]
    classes: int
    labels: bool

    def info(self) -> DataInfo:
        """Images; how many is known once they are converted."""
        return DataInfo("image", self.classes, shape=self.shape)

    def content(self) -> str:
        """SHA-256 of the file."""
        return extra_hash(self.path)

    def convert(self, root: Path | None) -> Converted:
        """Read and check the file."""
        place = extra_path(self.path)
        columns = _read(place)
        x = _images(place, columns, self.shape)
        y = _labels(place, columns, len(x), self.classes) if self.labels else np.full(len(x), UNKNOWN)
        return Converted({"train": Arrays(x, y)}, self.info(), self.content(), scale=255.0)


def _read(place: Path) -> Mapping[str, NDArray[Any]]:
    """The columns that are known by name."""
    import pyarrow as pa

    readers = {".npz": _read_npz, ".parquet": _read_arrow, ".arrow": _read_arrow}
    readers |= {".feather": _read_arrow, ".ipc": _read_arrow}
    if place.suffix not in readers:
        raise InputError("data.extra", place, f"a file whose name ends in {', '.join(readers)}")
    try:
        return readers[place.suffix](place)
    except (pa.ArrowException, OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        legal = f"a sound {place.suffix} file with images in `image` or `x`"
        raise InputError(str(place), f"a file that cannot be read ({reason})", legal) from error


def _read_npz(place: Path) -> dict[str, NDArray[Any]]:
    if not zipfile.is_zipfile(place):  # numpy would take other files for something else
        raise zipfile.BadZipFile("no zip archive")
    with np.load(place, allow_pickle=False) as file:
        return {name: file[name] for name in (*IMAGES, *LABELS) if name in file}


def _read_arrow(place: Path) -> dict[str, NDArray[Any]]:
    from pyarrow import feather, parquet

    table = parquet.read_table(place) if place.suffix == ".parquet" else feather.read_table(place)
    names = [name for name in (*IMAGES, *LABELS) if name in table.column_names]
    return {name: _dense(table.column(name)) for name in names}


def _dense(column: Any) -> NDArray[Any]:
    """A column as one array: (N,) of numbers, (N, ...) of lists that are equally long."""
    import pyarrow as pa

    values, shape = column.combine_chunks(), [len(column)]
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    if isinstance(values, pa.FixedShapeTensorArray):
        dense: NDArray[Any] = values.to_numpy_ndarray()
        return dense
    while pa.types.is_nested(values.type):
        inner = values.flatten()
        lengths = (
            {len(inner) / len(values)}
            if pa.types.is_fixed_size_list(values.type)
            else {*values.value_lengths().unique().to_pylist()}
        )
        if len(lengths) != 1 or values.null_count:
            raise ValueError("images are not of one shape")
        shape.append(int(lengths.pop()))
        values = inner
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(shape)


def _images(
    place: Path, columns: Mapping[str, NDArray[Any]], shape: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """The images as (N, C, H, W)."""
    channels, height, width = shape
    legal = f"uint8 of shape (N, {channels}, {height}, {width}) or (N, {height}, {width}, {channels})"
    x = next((columns[name] for name in IMAGES if name in columns), None)
    if x is None:
        raise InputError(f"{place}: image", "none", f"an array `image` or `x`, {legal}")
    if x.ndim == 2 and x.shape[1] == channels * height * width:
        x = x.reshape(-1, *shape)
    if x.dtype != np.uint8 or x.ndim != 4 or not len(x):
        raise InputError(f"{place}: image", f"{x.dtype} of shape {x.shape}", legal)
    if x.shape[1:] != shape:
        if x.shape[1:] != (height, width, channels):
            raise InputError(f"{place}: image", f"{x.dtype} of shape {x.shape}", legal)
        x = x.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x)


def _labels(place: Path, columns: Mapping[str, NDArray[Any]], count: int, classes: int) -> NDArray[np.int64]:
    legal = f"{count} whole numbers below {classes} in `label`; or leave out data.extra_labels"
    y = next((columns[name] for name in LABELS if name in columns), None)
    if y is None:
        raise InputError(f"{place}: label", "none", legal)
    if y.shape != (count,) or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= classes:
        given = f"{y.dtype} of shape {y.shape}"
        if y.size and y.dtype.kind in "iu":
            given += f" from {y.min()} to {y.max()}"
        raise InputError(f"{place}: label", given, legal)
    return y.astype(np.int64)
