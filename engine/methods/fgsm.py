"""FGSM adversarial training: one signed gradient step on the input."""

from __future__ import annotations

from typing import Literal

from engine.methods.base import Preset, pixels
from engine.models.base import ModelInfo
from engine.settings import NonNegative, Probability
from engine.slots.attack import PIXELS, Attack, Range
from engine.slots.objective import Objective, Term
from engine.slots.slots import Slots


class Config(Preset):
    """min over theta of  mix L(theta, x) + (1 - mix) L(theta, x + epsilon sign(grad_x L(theta, x))).

    Cost: one forward and input-backward pass for the attack, and one full pass for each loss in use.

    Attributes:
        epsilon: size of the step, in the unit of the input (0.3 on MNIST in Adaptive AT, 8/255 on CIFAR-10).
        mix: alpha, the share of the clean loss: 0.5 as published; 0 trains on attacked examples alone.
        clamp: range of attacked pixels (none for text).

    Source: Goodfellow, Shlens, Szegedy (ICLR 2015), section 6; AWP, Eq. 13.
    """

    name: Literal["fgsm"]
    epsilon: NonNegative = 8 / 255
    mix: Probability = 0.5
    clamp: Range | None = PIXELS

    def slots(self, model: ModelInfo) -> Slots:
        """A signed step from x itself, learnt from beside the clean loss."""
        attack = Attack(
            kind="attack", epsilon=self.epsilon, steps=1, start="zero", clamp=pixels(model, self.clamp)
        )
        term = Term(branch="attack", divergence="ce", weight=1 - self.mix)
        return Slots(input=attack, objective=Objective(natural=self.mix, terms=(term,)))
