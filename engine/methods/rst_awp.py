"""RST-AWP: RST with adversarial weight perturbation."""

from __future__ import annotations

from typing import Literal

from engine.methods import rst
from engine.methods.adversarial import awp
from engine.methods.base import WeightBlock


class Config(rst.Config):
    """RST's objective at theta + v, with v the worst case of that objective, ||v_l|| <= gamma ||w_l||.

    :mod:`engine.methods.rst` with gamma = 0.005 (section 5.1). Its training code was not released.

    Attributes:
        norm, epsilon, steps, step_size, start, start_size, clamp, mode, statistics, beta, unlabelled: as of
            RST.
        weight: the weight perturbation (:class:`engine.slots.weight.Relative`).

    Source: AWP, appendix D.3.
    """

    name: Literal["rst_awp"]  # type: ignore[assignment]
    weight: WeightBlock | None = awp(0.005)
