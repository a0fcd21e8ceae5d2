"""WideResNet-28-10 for small images."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.models.wideresnet import WideResNetConfig


class Config(WideResNetConfig):
    """Images of any size: 36,479,194 parameters for 3 channels and 10 classes.

    Source: Zagoruyko and Komodakis (BMVC 2016), Table 1; AWP, Table 2 (RST, pre-training).
    """

    depth: ClassVar[int] = 28
    width: ClassVar[int] = 10

    name: Literal["wideresnet28_10"]
