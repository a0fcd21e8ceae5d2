"""TRADES-AWP: TRADES with adversarial weight perturbation."""

from __future__ import annotations

from typing import Literal

from engine.methods import trades
from engine.methods.adversarial import awp
from engine.methods.base import WeightBlock
from engine.settings import NonNegative, Positive


class Config(trades.Config):
    """TRADES' objective at theta + v, with v the worst case of that objective, ||v_l|| <= gamma ||w_l||.

    :mod:`engine.methods.trades` with gamma = 0.005 from epoch 10 on and AWP's own attack (8/255, steps of
    2/255), as in its released code.

    Attributes:
        norm, epsilon, steps, step_size, start, start_size, clamp, mode, statistics, beta: as of TRADES.
        weight: the weight perturbation (:class:`engine.slots.weight.Relative`).

    Source: AWP, appendix D.3, Eq. 16; its released code for the warm-up.
    """

    name: Literal["trades_awp"]  # type: ignore[assignment]
    epsilon: NonNegative = 8 / 255
    step_size: Positive | None = 2 / 255
    weight: WeightBlock | None = awp(0.005, warmup=10)
