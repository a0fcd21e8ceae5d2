"""Virtual adversarial training: the prediction shall not change in the direction in which it changes most."""

from __future__ import annotations

from typing import Literal

from engine.methods.base import Preset
from engine.models.base import ModelInfo
from engine.settings import Count, NonNegative, Positive
from engine.slots.attack import Range, Virtual
from engine.slots.objective import Objective, Term
from engine.slots.slots import Slots


class Config(Preset):
    """min over theta of  CE(f(x), y) + weight * KL(p || f(x + r)),  p = f(x) held fixed,

        r = epsilon d,   d <- g / ||g||,   g = grad_r KL(p || f(x + r)) at r = xi d, from a random d;

    the divergence is averaged over labelled and unlabelled examples. Cost: one full pass, and for the
    divergence a forward and input-backward pass for each iteration and a full pass.

    Attributes:
        epsilon: L2 radius (8 on CIFAR-10, 3.5 on SVHN in Adversarial Dropout's code).
        xi: where the derivative is taken. iterations: of the power method.
        weight: of the divergence. entropy: weight of the unlabelled examples' entropy (VATent).
        clamp: range of perturbed pixels; none as published.

    Source: Miyato et al. (TPAMI 2018), Eq. 5-8, 16 and Algorithm 1.
    """

    name: Literal["vat"]
    epsilon: NonNegative = 8.0
    xi: Positive = 1e-6
    iterations: Count = 1
    weight: NonNegative = 1.0
    entropy: NonNegative = 0.0
    clamp: Range | None = None

    def slots(self, model: ModelInfo) -> Slots:
        """The virtual direction and the divergence along it."""
        settings = self.model_dump(include={"epsilon", "xi", "iterations", "clamp"})
        term = Term(branch="attack", divergence="kl", weight=self.weight, detach=True)
        return Slots(
            input=Virtual(kind="virtual", **settings),
            objective=Objective(terms=(term,), entropy=self.entropy),
        )
