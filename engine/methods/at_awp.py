"""AT-AWP: adversarial training with adversarial weight perturbation."""

from __future__ import annotations

from typing import Literal

from engine.methods import at
from engine.methods.adversarial import awp
from engine.methods.base import WeightBlock


class Config(at.Config):
    """min over theta of  max_{||v_l|| <= gamma ||w_l||} mean_i max_{x'_i} CE(f_{theta + v}(x'_i), y_i).

    :mod:`engine.methods.at` with gamma = 0.01 (sections 4.4 and 5.2; 0.005 in section 5.1), A = K2 = 1.
    Cost: that of AT and one full pass more.

    Attributes:
        norm, epsilon, steps, step_size, start, start_size, clamp, mode, statistics: as of AT.
        weight: the weight perturbation (:class:`engine.slots.weight.Relative`).

    Source: AWP, Algorithm 2.
    """

    name: Literal["at_awp"]  # type: ignore[assignment]
    weight: WeightBlock | None = awp(0.01)
