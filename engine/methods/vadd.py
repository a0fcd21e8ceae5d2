"""VAdD: virtual adversarial dropout, also with virtual adversarial training."""

from __future__ import annotations

from typing import Literal

from engine.methods.base import Preset
from engine.models.base import ModelInfo
from engine.settings import Flag, Frozen, NonNegative, Positive, Probability, Whole
from engine.slots.attack import Virtual
from engine.slots.dropout import AdversarialDropout
from engine.slots.objective import Objective, Term
from engine.slots.slots import Slots

HEIGHT = {"kl": 1.0, "squared": 25.0}
"""Published weight of each divergence (CIFAR-10; squared on fully labelled SVHN: 10)."""


class VirtualBlock(Frozen):
    """Virtual adversarial training on top: weight * KL(f(x) || f(x + r_vadv)), lambda_2 of Eq. 7."""

    epsilon: NonNegative = 8.0
    xi: Positive = 1e-6
    weight: NonNegative = 1.0


class Config(Preset):
    """min over theta of  CE(f(x_1, e_s), y) + weight * ramp(t) * D[f(x_1, e_s), f(x_2, e)],

    e the mask within a budget of flips from e_s that most raises D to first order, J = h grad_h D; the
    divergence is averaged over labelled and unlabelled examples and its gradient flows into both branches.
    Cost: two full passes, and a forward pass with a backward pass down to the dropout site.

    Attributes:
        divergence: D: ``kl`` or the quadratic error ``squared`` (mean over the classes).
        delta, budget, base, jacobian_at, rescale, site, views, reverse: as of
            :class:`engine.slots.dropout.AdversarialDropout`. With all-ones base and one view D has no
            gradient at its minimum, hence two views.
        weight: lambda; null takes 1 for kl and 25 for squared. ramp: epochs of its ramp-up.
        detach: hold f(x_1, e_s) fixed (not so in the released code).
        entropy: weight of the unlabelled examples' entropy (1 in the released semi-supervised code).
        vat: null, or ``{epsilon, xi, weight}``: virtual adversarial training on top (Eq. 7).

    Source: Adversarial Dropout, Eq. 5-7 and Algorithm 1; defaults of its released experiments.
    """

    name: Literal["vadd"]
    divergence: Literal["kl", "squared"] = "kl"
    delta: Probability = 0.05
    budget: Literal["hamming", "l2"] = "hamming"
    base: Literal["ones", "bernoulli"] = "ones"
    jacobian_at: Literal["ones", "base"] = "ones"
    rescale: Flag = True
    site: str = "dropout"
    views: Literal[1, 2] = 2
    reverse: Flag = False
    weight: NonNegative | None = None
    ramp: Whole = 80
    detach: Flag = False
    entropy: NonNegative = 0.0
    vat: VirtualBlock | None = None

    def slots(self, model: ModelInfo) -> Slots:
        """The divergence under the mask, and that along the virtual direction."""
        own = {"delta", "budget", "base", "jacobian_at", "rescale", "site", "views", "reverse", "divergence"}
        weight = HEIGHT[self.divergence] if self.weight is None else self.weight
        terms = [
            Term(
                branch="dropout",
                divergence=self.divergence,
                weight=weight,
                ramp=self.ramp,
                detach=self.detach,
            )
        ]
        virtual = None
        if self.vat is not None:
            virtual = Virtual(kind="virtual", epsilon=self.vat.epsilon, xi=self.vat.xi)
            terms.append(
                Term(branch="attack", divergence="kl", weight=self.vat.weight, ramp=self.ramp, detach=True)
            )
        return Slots(
            input=virtual,
            dropout=AdversarialDropout(**self.model_dump(include=own)),
            objective=Objective(terms=tuple(terms), entropy=self.entropy),
        )
