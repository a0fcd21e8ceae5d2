"""TRADES: the clean loss and the divergence of the attacked prediction from the clean one."""

from __future__ import annotations

from typing import Literal

from engine.methods.adversarial import Adversarial
from engine.models.base import ModelInfo
from engine.settings import NonNegative, Positive
from engine.slots.objective import Objective, Term
from engine.slots.slots import Slots


class Config(Adversarial):
    """min over theta of  mean_i CE(f(x_i), y_i) + beta max_{x'_i} KL(f(x_i) || f(x'_i)).

    x' climbs the same divergence from x + 0.001 N(0, 1), in eval mode. The clean prediction is part of
    the gradient. Cost: one forward pass and K forward and input-backward passes, and two full passes.

    Attributes:
        beta: weight of the divergence (6 as published).
        norm, epsilon, steps, step_size, start, start_size, clamp: the attack; defaults are the published
            ones on CIFAR-10 (0.031, 10 steps of 0.007).
        mode, statistics: BatchNorm in the attack's passes; ``eval`` as in the released code.
        weight: null, or a weight perturbation on top (see :class:`engine.methods.adversarial.Adversarial`).

    Source: Zhang et al. (ICML 2019), Eq. 5 and Algorithm 1; AWP, Eq. 2 and 16.
    """

    name: Literal["trades"]
    beta: NonNegative = 6.0
    epsilon: NonNegative = 0.031
    step_size: Positive | None = 0.007
    start: Literal["zero", "uniform", "gaussian"] = "gaussian"
    start_size: Positive = 0.001
    mode: Literal["train", "eval"] = "eval"

    def slots(self, model: ModelInfo) -> Slots:
        """The clean loss and the divergence."""
        term = Term(branch="attack", divergence="kl", weight=self.beta)
        return self.composed(model, Objective(terms=(term,)), "prediction")
