"""VGG-16 as DropAttack trains it on CIFAR-10."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.models.vgg import VGGConfig


class Config(VGGConfig):
    """13 convolutions and 512-4096-4096-C: 33,646,666 parameters for 3 channels and 10 classes.

    The widths are the standard 64-64, 128-128, 256-256-256, 512-512-512, 512-512-512. DropAttack says 13
    layers and prints 11 widths after the image's 3 channels; its Table 9 attacks the eighth batch norm,
    hence batch norm by default.

    Source: DropAttack, section 4.2 and Table 9; Simonyan and Zisserman (2014), configuration D.
    """

    blocks: ClassVar[tuple[int, ...]] = (2, 2, 3, 3, 3)

    name: Literal["vgg16"]
