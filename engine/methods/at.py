"""Adversarial training: PGD examples in place of the clean ones."""

from __future__ import annotations

from typing import Literal

from engine.methods.adversarial import Adversarial
from engine.models.base import ModelInfo
from engine.slots.objective import Objective, Term
from engine.slots.slots import Slots


class Config(Adversarial):
    """min over theta of  mean_i max_{||x'_i - x_i|| <= epsilon} CE(f(x'_i), y_i), by K steps of PGD.

        x' <- Pi_epsilon(x' + step_size sign(grad_x' CE(f(x'), y))),  x' uniform in the ball at the start

    Cost: K forward and input-backward passes, and one full pass.

    Attributes:
        norm, epsilon, steps, step_size, start, start_size, clamp: the attack; defaults are AWP's on CIFAR-10
            (L-infinity 8/255, 10 steps of 2/255; its L2 model: norm l2, 128/255, steps of 15/255).
        mode, statistics: BatchNorm in the attack's passes; ``train`` and ``live`` as in the released code.
        weight: null, or a weight perturbation on top (see :class:`engine.methods.adversarial.Adversarial`).

    Source: Madry et al. (ICLR 2018); AWP, Eq. 1 and 14, sections 4.4 and 5.1.
    """

    name: Literal["at"]

    def slots(self, model: ModelInfo) -> Slots:
        """The loss of the attacked examples alone."""
        terms = (Term(branch="attack", divergence="ce"),)
        return self.composed(model, Objective(natural=0.0, terms=terms), "labels")
