"""CW-inf: the loss of Carlini and Wagner, optimised by PGD."""

from __future__ import annotations

from typing import Literal

from engine.evaluations import pgd
from engine.evaluations.attacks import Ascended
from engine.settings import Count


class Config(pgd.Config):
    """PGD-100 on the margin max_{k != y} z_k - z_y, which is positive where the network is wrong.

    The usual code subtracts a confidence of 50 inside a hinge; it never binds and is left out.

    Source: AWP, section 5.2 ("L-inf version of CW loss optimized by PGD-100"); Carlini and Wagner (2017).
    """

    name: Literal["cw"]  # type: ignore[assignment]
    steps: Count = 100
    loss: Ascended = "margin"
