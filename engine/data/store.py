"""Converted data sets on disk: one memory-mapped Arrow IPC file each, shared by all trials of a node.

The file holds one record batch with one row. Each array is a column of one list, since the columns of a
batch must be equally long and the splits are not; its values are contiguous, so numpy sees them in place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.components import plugin_hash
from engine.data.base import SPLITS, Arrays, Converted, DataConfig, DataInfo
from engine.errors import InputError
from engine.files import cache_folder, data_root, write_atomic

if TYPE_CHECKING:
    import pyarrow as pa

_LAYOUT = 1  # raised when the columns or the metadata change


def open_data(config: DataConfig, root: Path | None = None, cache: Path | None = None) -> Converted:
    """A data set, converted by the first process that asks and memory-mapped by all others.

    A cache file that is damaged or not what its name says is converted again. When two processes ask at
    once, one converts and the other waits.

    Args:
        config: the data set; ``train_size`` and its other choices are not applied
            (:func:`engine.data.loading.load` does).
        root: folder with the published files; ``PERTURB_DATA`` when None.
        cache: folder for converted data; :func:`engine.files.cache_folder` when None.

    Returns:
        Read-only arrays that are views of the file; no array is read before it is used.

    Raises:
        DataMissing, InputError: as :meth:`DataConfig.convert`, when there is no cache file yet.
    """
    path = arrow_path(config, cache)
    found = _read(path, config)
    if found is not None:
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path.with_suffix(".lock")):
        if _read(path, config) is None:
            _write(path, config, config.convert(root or data_root()))
    found = _read(path, config)
    if found is None:
        raise InputError(
            str(path), "a file that does not read back", "a cache folder (PERTURB_CACHE) on a sound disk"
        )
    return found


def arrow_path(config: DataConfig, cache: Path | None = None) -> Path:
    """Where the converted data are or will be; equal for configs that differ in their choices alone."""
    return (cache or cache_folder()) / "data" / f"{config.name}-{_identity(config)}.arrow"


def missing(config: DataConfig, root: Path | None = None, cache: Path | None = None) -> list[str]:
    """What must be fetched before :func:`open_data` can run; nothing when the data are converted already."""
    return [] if arrow_path(config, cache).is_file() else config.missing(root or data_root())


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time where the file system has locks; elsewhere two may do the same work twice."""
    from filelock import FileLock

    with ExitStack() as stack:
        # A soft lock would outlive a crash and stop every later trial; the system's own does not.
        with suppress(NotImplementedError):
            stack.enter_context(FileLock(path, fallback_to_soft=False))
        yield


def _identity(config: DataConfig) -> str:
    form = {
        "layout": _LAYOUT,
        "content": config.content(),
        "version": config.version,
        "preprocessing": config.preprocessing(),
        "plugin": plugin_hash("data", config.name),  # a user's changed file may convert otherwise
    }
    return hashlib.sha256(json.dumps(form, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _write(path: Path, config: DataConfig, data: Converted) -> None:
    import pyarrow as pa

    columns = {"words": _one_list(pa.array(data.words, pa.string()))}
    for split, arrays in data.splits.items():
        columns[f"{split}.x"] = _one_list(pa.array(arrays.x.reshape(-1)))
        columns[f"{split}.y"] = _one_list(pa.array(arrays.y))
        if arrays.offsets is not None:
            columns[f"{split}.offsets"] = _one_list(pa.array(arrays.offsets))
    about = {"identity": _identity(config), "scale": data.scale, "info": asdict(data.info)}
    batch = pa.RecordBatch.from_pydict(columns, metadata={"perturb": json.dumps(about)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    write_atomic(path, memoryview(sink.getvalue()))  # not a copy: whitened CIFAR-10 has 740 MB


def _one_list(values: pa.Array) -> pa.Array:
    import pyarrow as pa

    return pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)


def _read(path: Path, config: DataConfig) -> Converted | None:
    """The data in a cache file; None when it is not there, damaged or of something else."""
    import pyarrow as pa

    if not path.is_file():
        return None
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        batch.validate()
        about = json.loads(batch.schema.metadata[b"perturb"])
        if about["identity"] != _identity(config):
            return None
        info = _info(about["info"])
        splits = {s: _arrays(batch, s, info) for s in SPLITS if f"{s}.x" in batch.schema.names}
        words = tuple(batch.column("words").values.to_pylist())
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None
    return Converted(splits, info, config.content(), about["scale"], words)


def _info(form: dict[str, Any]) -> DataInfo:
    """What was stored; files from before ``range`` was a field hold images in [0, 1]."""
    lists = {name: tuple(form[name]) for name in ("shape", "range") if form.get(name) is not None}
    return DataInfo(**{**form, **lists})


def _arrays(batch: Any, split: str, info: DataInfo) -> Arrays:
    """Views of one split's columns.

    Raises:
        ValueError: their lengths do not fit together.
    """
    names = [name for name in ("x", "y", "offsets") if f"{split}.{name}" in batch.schema.names]
    columns = {name: batch.column(f"{split}.{name}").values.to_numpy() for name in names}
    x, y, offsets = columns["x"], columns["y"], columns.get("offsets")
    if offsets is None:
        return Arrays(x.reshape(len(y), *info.shape), y)
    if len(offsets) != len(y) + 1 or offsets[0] != 0 or offsets[-1] != len(x):
        raise ValueError(f"{split}: offsets do not fit")
    return Arrays(x, y, offsets)
