"""SVHN: house numbers in street photographs, cut into digits."""

from __future__ import annotations

import hashlib
import io
import zlib
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from engine.data.images import Half, PublishedImages
from engine.errors import InputError
from engine.settings import Count

TRAIN, TEST = "train_32x32.mat", "test_32x32.mat"


class Config(PublishedImages):
    """Colour images of 32 x 32 pixels, digits 0 ... 9; 66,000 / 7,257 / 26,032.

    No paper here says how SVHN is split; AWP and Adversarial Dropout train on all 73,257 published training
    images and choose on the test set. Here about a tenth of them are held out, which leaves a round number.
    They are the last ones, not drawn at random: digits of one photograph follow each other in the file
    and so stay on one side. The 531,131 ``extra`` images are not used.

    Attributes:
        digests: published MD5 of each file.

    Source: Netzer et al. (2011), Reading digits in natural images with unsupervised feature learning.
    """

    published: ClassVar[str] = "SVHN"
    counts: ClassVar[tuple[int, int]] = (73_257, 26_032)
    shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    digests: ClassVar[dict[str, str]] = {
        TRAIN: "e26dedcc434d2e4c54c9b2d4a06d8373",
        TEST: "eb5a983be6a315427106f1b164d9cef3",
    }

    name: Literal["svhn"]
    validation: Count = 7_257

    def content(self) -> str:
        """SHA-256 over the MD5 of both files."""
        return hashlib.sha256("".join(self.digests.values()).encode()).hexdigest()

    def missing(self, root: Path | None) -> list[str]:
        """The files that are in neither of the folders looked in."""
        folder = Path("$PERTURB_DATA" if root is None else root) / self.name
        return [str(folder / name) for name in self.digests if self._find(name, root) is None]

    def download(self, root: Path) -> None:
        """Download both files from where torchvision does."""
        from torchvision import datasets
        from torchvision.datasets.utils import download_url

        for split in ("train", "test"):
            url, name, digest = datasets.SVHN.split_list[split]
            download_url(url, str(root / self.name), name, digest)

    def halves(self, root: Path | None) -> tuple[Half, Half]:
        """Read and check both files."""
        return self._read(TRAIN, root, self.counts[0]), self._read(TEST, root, self.counts[1])

    def _find(self, name: str, root: Path | None) -> Path | None:
        places = [root / folder / name for folder in self._folders()] if root else []
        return next((path for path in places if path.is_file()), None)

    def _folders(self) -> list[str]:
        return [self.name, "."]

    def _read(self, name: str, root: Path | None, count: int) -> Half:
        path = self._find(name, root)
        if path is None:
            raise self.absent(name, root, self._folders())
        wanted = f"{name} as published (MD5 {self.digests[name]}); fetch it again"
        channels, height, width = self.shape
        with path.open("rb") as file:  # a byte more than pixels and labels need tells a file that is too long
            content = file.read(count * (channels * height * width + 1) + 65536)
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != self.digests[name]:
            raise InputError(str(path), f"content with MD5 {found}", wanted)
        x, y = _arrays(path, content, wanted)
        shape = (height, width, channels, count)
        if (
            x.shape != shape
            or x.dtype != np.uint8
            or y.size != count
            or y.min() < 1
            or y.max() > self.classes
        ):
            given = f"X {x.dtype} of shape {x.shape}, y of shape {y.shape}"
            legal = f"X of {'x'.join(map(str, shape))} bytes and y of {count} labels 1 to {self.classes}"
            raise InputError(str(path), given, legal)
        labels = y.reshape(-1).astype(np.int64) % self.classes  # the file calls the digit 0 "10"
        return np.ascontiguousarray(x.transpose(3, 2, 0, 1)), labels


def _arrays(path: Path, content: bytes, wanted: str) -> tuple[np.ndarray, np.ndarray]:
    """X and y of a MATLAB 5 file."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        columns = loadmat(io.BytesIO(content), variable_names=["X", "y"])
        return columns["X"], columns["y"]
    except KeyError as error:
        raise InputError(str(path), f"a file without {error}", wanted) from error
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError, zlib.error) as error:
        raise InputError(str(path), f"what cannot be read ({error})", wanted) from error
