"""VGG-19, on which AWP repeats its study of the loss landscape."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.models.vgg import VGGConfig


class Config(VGGConfig):
    """16 convolutions and 512-4096-4096-C: 38,958,922 parameters for 3 channels and 10 classes.

    The widths are the standard 64-64, 128-128, 256 four times, 512 four times, 512 four times. AWP gives
    neither batch norm nor the dense layers; they are those of ``vgg16``.

    Source: AWP, Appendix C; Simonyan and Zisserman (2014), configuration E.
    """

    blocks: ClassVar[tuple[int, ...]] = (2, 2, 4, 4, 4)

    name: Literal["vgg19"]
