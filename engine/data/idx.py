"""The idx format, and what the data sets published in it (MNIST and its relatives) have in common."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.data.images import Half, PublishedImages
from engine.errors import InputError

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


def read_idx(path: Path, shape: tuple[int, ...], digest: str) -> NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes, plain or gzip-compressed.

    Args:
        path: the file; a name that ends in ``.gz`` is decompressed.
        shape: shape of the published array.
        digest: SHA-256 of the published file, decompressed.

    Raises:
        InputError: the file is not the published one; says what it is instead.

    Source: the idx format as described with MNIST (LeCun, Cortes, Burges): two zero bytes, the type
    (8 is unsigned byte), the number of dimensions, each dimension as a big-endian 32-bit number, the data.
    """
    start = bytes([0, 0, 8, len(shape)]) + np.array(shape, dtype=">u4").tobytes()
    size = len(start) + math.prod(shape)
    wanted = f"{path.name.removesuffix('.gz')} as published ({'x'.join(map(str, shape))} bytes); replace it"
    content = _content(path, size + 1, wanted)
    if content[:4] != start[:4]:
        given = f"a file that starts with {content[:4].hex() or 'nothing'} instead of {start[:4].hex()}"
    elif content[: len(start)] != start:
        dimensions = np.frombuffer(content[4 : len(start)].ljust(len(start) - 4, b"\0"), dtype=">u4")
        given = f"an array of {'x'.join(map(str, dimensions))}"
    elif len(content) != size:
        given = f"a file with {'fewer' if len(content) < size else 'more'} than {size} bytes"
    elif (found := hashlib.sha256(content).hexdigest()) != digest:
        given, wanted = f"content with SHA-256 {found}", f"{wanted} (SHA-256 {digest})"
    else:
        return np.frombuffer(content, dtype=np.uint8, offset=len(start)).reshape(shape)
    raise InputError(str(path), given, wanted)


def _content(path: Path, limit: int, wanted: str) -> bytes:
    """The first ``limit`` bytes, so that no file can fill the memory."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(limit)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(str(path), f"a file that cannot be read ({error})", wanted) from error


class IdxConfig(PublishedImages):
    """Grey 28 x 28 images, ten classes, 60,000 for training and 10,000 for testing, in four idx files.

    Split: 50,000 / 10,000 / 10,000 as in Table 1 of DropAttack; ``validation: 5000`` gives the 55,000 /
    5,000 / 10,000 of Adaptive Adversarial Training. Neither paper says which images are the
    validation set; here they are the last of the published training set, which is the customary choice.

    Attributes:
        digests: SHA-256 of each published file, decompressed.
    """

    digests: ClassVar[dict[str, str]]
    counts: ClassVar[tuple[int, int]] = (60_000, 10_000)
    shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)

    def content(self) -> str:
        """SHA-256 over the SHA-256 of the four files, in the order of :data:`FILES`."""
        return hashlib.sha256("".join(self.digests[stem] for stem in FILES).encode()).hexdigest()

    def missing(self, root: Path | None) -> list[str]:
        """The files that are in none of the folders looked in."""
        folder = Path("$PERTURB_DATA" if root is None else root) / self._folders()[0]
        return [str(folder / stem) for stem in FILES if self._find(stem, root) is None]

    def download(self, root: Path) -> None:
        """Download through torchvision, into the layout that is looked in first."""
        from torchvision import datasets

        getattr(datasets, self.published)(str(root / self.name), train=True, download=True)

    def halves(self, root: Path | None) -> tuple[Half, Half]:
        """Read and check the four files."""
        train, test = self.counts
        x, y = self._read(TRAIN_IMAGES, root, train), self._read(TRAIN_LABELS, root, train)
        x_test, y_test = self._read(TEST_IMAGES, root, test), self._read(TEST_LABELS, root, test)
        return (x[:, None], y.astype(np.int64)), (x_test[:, None], y_test.astype(np.int64))

    def _read(self, stem: str, root: Path | None, count: int) -> NDArray[np.uint8]:
        path = self._find(stem, root)
        if path is None:
            raise self.absent(f"{stem}[.gz]", root, self._folders())
        shape = (count, *self.shape[1:]) if "images" in stem else (count,)
        return read_idx(path, shape, self.digests[stem])

    def _find(self, stem: str, root: Path | None) -> Path | None:
        if root is None:
            return None
        names = [root / folder / f"{stem}{end}" for folder in self._folders() for end in ("", ".gz")]
        return next((path for path in names if path.is_file()), None)

    def _folders(self) -> list[str]:
        """Where the files may be below the data folder; torchvision's layout first."""
        return [f"{self.name}/{self.published}/raw", f"{self.published}/raw", self.name]
