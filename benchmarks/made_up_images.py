"""A data set of random images, loaded as a plugin: the bytes have no effect on what a step costs."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from engine.data.base import SPLITS, Arrays, Converted, DataConfig, DataInfo, Split
from engine.settings import Count


class Config(DataConfig):
    """Images of random bytes in ten classes.

    Attributes:
        channels, side: of the images. train: size of the training split.
    """

    small: ClassVar[int] = 16

    name: Literal["made_up_images"]
    channels: Count = 1
    side: Count = 28
    train: Count = 8192

    def info(self) -> DataInfo:
        sizes: dict[Split, int] = {"train": self.train, "val": self.small, "test": self.small}
        return DataInfo("image", 10, sizes, (self.channels, self.side, self.side))

    def content(self) -> str:
        return f"random bytes {self.channels} {self.side} {self.train}"

    def convert(self, root: Path | None) -> Converted:
        info, draw = self.info(), np.random.default_rng(0)
        splits = {}
        for split in SPLITS:
            size = info.sizes[split]
            x = draw.integers(0, 256, (size, *info.shape), dtype=np.uint8)
            splits[split] = Arrays(x, draw.integers(0, 10, size))
        return Converted(splits, info, self.content(), scale=255.0)
