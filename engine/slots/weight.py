"""The weight slot's perturbations that replace theta in the objective: adversarial (AWP) and random (RWP)."""

from __future__ import annotations

from typing import Literal, Self

from engine.models.base import WEIGHTS
from engine.settings import Count, Frozen, NonNegative, Positive, Probability, Whole


class Relative(Frozen):
    """Adversarial weight perturbation: theta + v with ||v_l|| <= gamma ||w_l|| for each tensor l.

        A times:  x' <- the input slot's attack at theta + v
                  K2 times:  v_l <- Proj(v_l + eta g_l / ||g_l|| * ||w_l||),  g = grad L(theta + v),
        Proj scales v_l back onto the ball where it is outside (Eq. 15); M * v is what is added.

    The objective is then learnt from at theta + v, and theta is restored bit for bit.

    Attributes:
        targets: ``weights`` (the released code's rule), aliases or glob patterns.
        gamma: size relative to the weights. steps: K2. alternations: A.
        step_size: eta; None takes gamma / (A K2).
        size_norm: norm of v, g and w: ``l2`` or ``l1`` (section 5.2).
        p: probability that an element is perturbed (1 in the paper).
        warmup: epochs without weight perturbation.
        decay_at: weight decay acts at ``perturbed`` weights, as when an optimiser steps there
            (released code), or at the ``centre``.
        statistics: whether the passes that find v move BatchNorm's running statistics; ``frozen`` is
            what the released code's proxy model amounts to.

    Source: AWP, Algorithm 2, Eq. 8, 10, 11 and 15; defaults of section 5.2.
    """

    kind: Literal["relative"]
    targets: tuple[str, ...] = (WEIGHTS,)
    gamma: NonNegative = 0.01
    steps: Count = 1
    alternations: Count = 1
    step_size: Positive | None = None
    size_norm: Literal["l2", "l1"] = "l2"
    p: Probability = 1.0
    warmup: Whole = 0
    decay_at: Literal["perturbed", "centre"] = "perturbed"
    statistics: Literal["frozen", "live"] = "frozen"

    @property
    def eta(self) -> float:
        """Size of one step, relative to the weights."""
        return self.gamma / (self.alternations * self.steps) if self.step_size is None else self.step_size

    def collapsed(self) -> Self | None:
        """None where nothing is perturbed."""
        if not self.targets or self.gamma == 0 or self.p == 0:
            return None
        idle: dict[str, object] = {"targets": tuple(sorted(set(self.targets)))}
        if self.step_size == self.gamma / (self.alternations * self.steps):
            idle["step_size"] = None
        return self.model_copy(update=idle)

    def unalternated(self) -> Self:
        """The same v where no attack is remade between the A times K2 steps."""
        return self.model_copy(update={"alternations": 1, "steps": self.alternations * self.steps})


class RandomRelative(Frozen):
    """Random weight perturbation, AWP's control: v_l = gamma ||w_l|| d_l / ||d_l||, d ~ N(0, 1), each step.

    Attributes:
        targets, gamma, warmup, decay_at: as of :class:`Relative`.

    Source: AWP, section 5.3.
    """

    kind: Literal["random"]
    targets: tuple[str, ...] = (WEIGHTS,)
    gamma: NonNegative = 0.01
    warmup: Whole = 0
    decay_at: Literal["perturbed", "centre"] = "perturbed"

    def collapsed(self) -> Self | None:
        """None where nothing is perturbed."""
        if not self.targets or self.gamma == 0:
            return None
        return self.model_copy(update={"targets": tuple(sorted(set(self.targets)))})
