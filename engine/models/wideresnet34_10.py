"""WideResNet-34-10 for small images."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.models.wideresnet import WideResNetConfig


class Config(WideResNetConfig):
    """Images of any size: 46,160,474 parameters for 3 channels and 10 classes.

    Source: Zagoruyko and Komodakis (BMVC 2016), Table 1; AWP, Table 2 (AT, TRADES, MART).
    """

    depth: ClassVar[int] = 34
    width: ClassVar[int] = 10

    name: Literal["wideresnet34_10"]
