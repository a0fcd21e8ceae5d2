"""MART: boosted cross-entropy on attacked examples, more consistency where the clean ones are uncertain."""

from __future__ import annotations

from typing import Literal

from engine.methods.adversarial import Adversarial
from engine.models.base import ModelInfo
from engine.settings import NonNegative, Positive
from engine.slots.objective import Objective, Term
from engine.slots.slots import Slots


class Config(Adversarial):
    """min over theta of  mean_i BCE(q_i, y_i) + beta KL(p_i || q_i) (1 - p_{i, y_i}),

        p = f(x),  q = f(x'),  BCE(q, y) = -log q_y - log(1 - max_{k != y} q_k),

    with x' the PGD example of the cross-entropy. The released code's slack of 1e-4 in the margin is kept,
    and p is part of the gradient. Cost: as TRADES, without its first forward pass.

    Attributes:
        beta: lambda of the paper, beta of its code: 5 for ResNet-18, 6 for WideResNet-34-10.
        norm, epsilon, steps, step_size, start, start_size, clamp: the attack (0.031, 10 steps of 0.007).
        mode, statistics: BatchNorm in the attack's passes; ``eval`` as in the released code.
        weight: null, or a weight perturbation on top (see :class:`engine.methods.adversarial.Adversarial`).

    Source: Wang et al. (ICLR 2020), Eq. 8-10; AWP, Eq. 3 and 17.
    """

    name: Literal["mart"]
    beta: NonNegative = 5.0
    epsilon: NonNegative = 0.031
    step_size: Positive | None = 0.007
    start: Literal["zero", "uniform", "gaussian"] = "gaussian"
    start_size: Positive = 0.001
    mode: Literal["train", "eval"] = "eval"

    def slots(self, model: ModelInfo) -> Slots:
        """The margin of the attacked examples and the weighted divergence."""
        terms = (
            Term(branch="attack", divergence="margin"),
            Term(branch="attack", divergence="mart", weight=self.beta),
        )
        return self.composed(model, Objective(natural=0.0, terms=terms), "labels")
