"""Pi model: two noisy passes over the same example shall agree."""

from __future__ import annotations

from typing import Literal

from engine.methods.base import Preset
from engine.models.base import ModelInfo
from engine.settings import Flag, NonNegative, Whole
from engine.slots.objective import Objective, Term
from engine.slots.slots import Slots


class Config(Preset):
    """min over theta of  CE(f(x_1, e_1), y) + weight * ramp(t) * D[f(x_1, e_1), f(x_2, e_2)],

    x_1, x_2 two augmented copies and e_1, e_2 two draws of dropout; D is averaged over labelled and
    unlabelled examples. Cost: two full passes.

    Attributes:
        divergence: ``squared`` (mean over the classes, as published) or ``kl``.
        weight: of the divergence at its height (100 n / N with n labels of N as published).
        ramp: epochs of its Gaussian ramp-up.
        detach: hold the first prediction fixed (not so as published).

    Source: Laine and Aila (ICLR 2017), Algorithm 1; Adversarial Dropout, Eq. 1.
    """

    name: Literal["pi_model"]
    divergence: Literal["squared", "kl"] = "squared"
    weight: NonNegative = 100.0
    ramp: Whole = 80
    detach: Flag = False

    def slots(self, model: ModelInfo) -> Slots:
        """The clean loss and the divergence from the second view."""
        return Slots(objective=Objective(terms=(Term(branch="view", **self.model_dump(exclude={"name"})),)))
