"""The handwritten digits that scikit-learn ships: real images without a download."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from engine.data.base import Arrays, Split
from engine.data.images import ImageConfig
from engine.data.subset import stratified_order
from engine.errors import InputError

_CONTENT = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


class Config(ImageConfig):
    """1,797 grey images of 8 x 8 pixels with values 0 ... 16, ten classes.

    The published set has no split. Ours is fixed, whatever a trial's seed: the stratified order of seed
    ``split_seed`` is cut into 1,437 training, 180 validation and 180 test images, each kept in the
    published order.

    Source: Alpaydin and Kaynak (1998), the test part of UCI's optical recognition of handwritten digits.
    """

    shape: ClassVar[tuple[int, int, int]] = (1, 8, 8)
    scale: ClassVar[float] = 16.0
    sizes: ClassVar[dict[Split, int]] = {"train": 1437, "val": 180, "test": 180}
    split_seed: ClassVar[int] = 0

    name: Literal["digits"]

    def split_sizes(self) -> dict[Split, int]:
        """1,437 / 180 / 180."""
        return self.sizes

    def content(self) -> str:
        """SHA-256 of the pixels, then of the labels, one byte each, in scikit-learn's order."""
        return _CONTENT

    def read(self, root: Path | None) -> dict[Split, Arrays]:
        """Read the images from scikit-learn; ``root`` is not looked at."""
        from sklearn.datasets import load_digits

        published = load_digits()
        x = published.images.astype(np.uint8)[:, None]
        y = published.target.astype(np.int64)
        found = hashlib.sha256(x.tobytes() + y.astype(np.uint8).tobytes()).hexdigest()
        if found != self.content():
            legal = f"the 1,797 digits with SHA-256 {self.content()}; reinstall scikit-learn"
            raise InputError("sklearn.datasets.load_digits", f"content with SHA-256 {found}", legal)
        cuts = np.cumsum([self.sizes["train"], self.sizes["val"]])
        parts = np.split(stratified_order(y, self.split_seed), cuts)
        return {
            split: Arrays(x[rows], y[rows])
            for split, rows in zip(self.sizes, map(np.sort, parts), strict=True)
        }
