"""LeNet-5 for the 8 x 8 digits: kernels of 3, otherwise the same layers."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.data.base import DataInfo
from engine.models.base import Shape
from engine.models.image import ImageConfig
from engine.models.lenet5 import ALIASES, LeNet5


class Config(ImageConfig):
    """8 x 8 images, padded by 1 in both convolutions: 8 -> 4 -> 2 pixels a side, 19,754 parameters."""

    aliases: ClassVar[dict[str, str]] = ALIASES
    shape: ClassVar[Shape | None] = (1, 8, 8)

    name: Literal["lenet5_8x8"]

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> LeNet5:
        """The network for this number of classes."""
        return LeNet5(
            1, data.classes, kernel=3, padding=(1, 1), features=64,
            dropout=self.dropout, normalize=self.normalizer(),
        )  # fmt: skip
