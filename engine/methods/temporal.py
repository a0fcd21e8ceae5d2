"""Temporal ensembling: the prediction shall agree with the mean of its earlier ones."""

from __future__ import annotations

from typing import Literal

from engine.methods.base import Preset
from engine.models.base import ModelInfo
from engine.settings import NonNegative, Probability, Whole
from engine.slots.objective import Objective, Term
from engine.slots.slots import Slots


class Config(Preset):
    """min over theta of  CE(f(x), y) + weight * ramp(t) * D[f(x), z],

        z = Z / (1 - momentum^t),   Z <- momentum Z + (1 - momentum) f(x) after each of t epochs;

    the first epoch has no target. Cost: one full pass.

    Attributes:
        divergence: ``squared`` (as published) or ``kl``.
        weight: of the divergence at its height (30 n / N with n labels of N as published).
        ramp: epochs of its Gaussian ramp-up. momentum: alpha, in [0, 1).

    Source: Laine and Aila (ICLR 2017), Algorithm 2.
    """

    name: Literal["temporal"]
    divergence: Literal["squared", "kl"] = "squared"
    weight: NonNegative = 30.0
    ramp: Whole = 80
    momentum: Probability = 0.6

    def slots(self, model: ModelInfo) -> Slots:
        """The clean loss and the divergence from the ensemble."""
        term = Term(branch="ensemble", divergence=self.divergence, weight=self.weight, ramp=self.ramp)
        return Slots(objective=Objective(terms=(term,), momentum=self.momentum))
