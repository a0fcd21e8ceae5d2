"""The Python format of CIFAR-10 and CIFAR-100: pickles in an archive, which is read in place."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeGuard

import numpy as np
from numpy._core import multiarray
from numpy.typing import NDArray

from engine.data.images import Half, PublishedImages
from engine.errors import InputError

_SLACK = 256  # bytes of an image's file name and labels, generously
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): multiarray._reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _Unpickler(pickle.Unpickler):
    """Reads arrays, lists, dictionaries and text; a pickle that names anything else is refused unread."""

    def find_class(self, module: str, name: str) -> Any:
        """What the pickle calls by name."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it calls {module}.{name}, which no published file does")
        return _ALLOWED[module, name]


def read_pickle(content: bytes) -> object:
    """The plain data and arrays in a pickle; nothing that it could otherwise run is run.

    Args:
        content: a pickle, of Python 2 or 3.

    Raises:
        pickle.UnpicklingError: it is damaged, or calls anything but what makes arrays.
    """
    try:
        return _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except (ValueError, TypeError, EOFError, IndexError, KeyError, AttributeError, OverflowError) as error:
        raise pickle.UnpicklingError(str(error) or type(error).__name__) from error


class CifarConfig(PublishedImages):
    """Colour images of 32 x 32 pixels, 50,000 for training and 10,000 for testing, each once, in pickles.

    Split: 40,000 / 10,000 / 10,000 as in Table 1 of DropAttack and in Adaptive Adversarial Training. Neither
    says which images are the validation set; here they are the last of the published training set.
    The archive is read as it is; a folder that was extracted from it does as well.

    Attributes:
        archive: file name of the published archive, and its MD5. folder: the folder in it.
        digests: published MD5 of each file, those of the training set first and of the test set last.
        labels: name of the labels in a file.
    """

    archive: ClassVar[tuple[str, str]]
    folder: ClassVar[str]
    digests: ClassVar[dict[str, str]]
    labels: ClassVar[str]
    counts: ClassVar[tuple[int, int]] = (50_000, 10_000)
    shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)

    def content(self) -> str:
        """SHA-256 over the MD5 of the files, in their published order."""
        return hashlib.sha256("".join(self.digests.values()).encode()).hexdigest()

    def missing(self, root: Path | None) -> list[str]:
        """The archive, when it is in none of the places looked in."""
        place = Path("$PERTURB_DATA" if root is None else root) / self._places()[0]
        return [str(place)] if self._find(root) is None else []

    def download(self, root: Path) -> None:
        """Download the archive from where torchvision does; it is not extracted."""
        from torchvision import datasets
        from torchvision.datasets.utils import download_url

        name, digest = self.archive
        download_url(getattr(datasets, self.published).url, str(root / self.name), name, digest)

    def halves(self, root: Path | None) -> tuple[Half, Half]:
        """Read and check all files."""
        source = self._find(root)
        if source is None:
            raise self.absent(self.archive[0], root, self._places())
        train, test = self.counts
        *parts, last = self.digests
        if source.is_dir():
            files = {name: (source / name, self._in_folder(source / name)) for name in self.digests}
        else:
            contents = self._in_archive(source)
            files = {name: (source / self.folder / name, contents[name]) for name in self.digests}
        batches = [self._half(name, *files[name], train // len(parts)) for name in parts]
        x, y = (np.concatenate(columns) for columns in zip(*batches, strict=True))
        return (x, y), self._half(last, *files[last], test)

    def _places(self) -> list[str]:
        """Where the images may be below the data folder; first where they are downloaded to."""
        names = (self.archive[0], self.folder)
        return [f"{prefix}{name}" for prefix in (f"{self.name}/", "") for name in names]

    def _find(self, root: Path | None) -> Path | None:
        if root is None:
            return None
        return next((root / place for place in self._places() if (root / place).exists()), None)

    def _wanted(self, name: str) -> str:
        return f"{name} of {self.archive[0]} as published (MD5 {self.digests[name]}); fetch it again"

    def _limit(self) -> int:
        """Bytes that no published file has, so that no file can fill the memory."""
        return max(self.counts) * (int(np.prod(self.shape)) + _SLACK) + 65536

    def _in_folder(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                return file.read(self._limit())
        except OSError as error:
            given = f"what cannot be read ({error.strerror})"
            raise InputError(str(path), given, self._wanted(path.name)) from error

    def _in_archive(self, archive: Path) -> Mapping[str, bytes]:
        """The files by name, in one pass; other members are passed over and nothing reaches the disk."""
        wanted = {f"{self.folder}/{name}": name for name in self.digests}
        found: dict[str, bytes] = {}
        try:
            with tarfile.open(archive, mode="r|gz") as tar:
                for member in tar:
                    name = wanted.get(member.name)
                    file = tar.extractfile(member) if name and member.isreg() else None
                    if name and file:
                        found[name] = file.read(self._limit())
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            legal = f"{archive.name} as published (MD5 {self.archive[1]}); fetch it again"
            raise InputError(str(archive), f"what cannot be read ({error})", legal) from error
        for path, name in wanted.items():
            if name not in found:
                raise InputError(str(archive), f"an archive without the file {path}", self._wanted(name))
        return found

    def _half(self, name: str, path: Path, content: bytes, count: int) -> Half:
        """Images and labels of one file."""
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != self.digests[name]:
            raise InputError(str(path), f"content with MD5 {found}", self._wanted(name))
        try:
            entry = read_pickle(content)
        except pickle.UnpicklingError as error:
            raise InputError(str(path), f"a pickle that is not read ({error})", self._wanted(name)) from error
        columns = entry if isinstance(entry, dict) else {}
        x, y = columns.get("data"), columns.get(self.labels)
        shape = (count, int(np.prod(self.shape)))
        if _are_images(x, shape) and _are_labels(y, count, self.classes):
            return x.reshape(count, *self.shape), np.array(y, dtype=np.int64)
        size = "x".join(map(str, shape))
        legal = f"`data`, {size} bytes, and `{self.labels}`, {count} whole numbers below {self.classes}"
        raise InputError(str(path), _shown(x, y), legal)


def _are_images(x: object, shape: tuple[int, int]) -> TypeGuard[NDArray[np.uint8]]:
    return isinstance(x, np.ndarray) and x.shape == shape and x.dtype == np.uint8


def _are_labels(y: object, count: int, classes: int) -> TypeGuard[list[int]]:
    if not isinstance(y, list) or len(y) != count:
        return False
    return all(type(label) is int and label in range(classes) for label in y)


def _shown(x: object, y: object) -> str:
    images = f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else "none"
    if not isinstance(y, list) or not y:
        return f"images ({images}) without labels"
    return f"images ({images}) with {len(y)} labels, {min(map(str, y))} to {max(map(str, y))}"
