"""SAdD: supervised adversarial dropout."""

from __future__ import annotations

from typing import Literal

from engine.methods.base import Preset
from engine.models.base import ModelInfo
from engine.settings import Flag, NonNegative, Probability, Whole
from engine.slots.dropout import AdversarialDropout
from engine.slots.objective import Objective, Term
from engine.slots.slots import Slots


class Config(Preset):
    """min over theta of  CE(f(x, e_s), y) + weight * ramp(t) * CE(f(x, e), y),

    e the mask within a budget of flips from e_s that most raises the loss to first order, J = h grad_h CE.
    Cost: two full passes, and a forward pass with a backward pass down to the dropout site.

    Attributes:
        delta, budget, base, jacobian_at, rescale, site, views: as of
            :class:`engine.slots.dropout.AdversarialDropout`.
        weight: lambda. ramp: epochs of its Gaussian ramp-up.

    Source: Adversarial Dropout, Eq. 4 and 6 and Algorithm 1; defaults of its released experiments (their
    supervised mode does not run; the search is taken against the labels, as printed).
    """

    name: Literal["sadd"]
    delta: Probability = 0.05
    budget: Literal["hamming", "l2"] = "hamming"
    base: Literal["ones", "bernoulli"] = "ones"
    jacobian_at: Literal["ones", "base"] = "ones"
    rescale: Flag = True
    site: str = "dropout"
    views: Literal[1, 2] = 1
    weight: NonNegative = 1.0
    ramp: Whole = 80

    def slots(self, model: ModelInfo) -> Slots:
        """The loss under the mask, beside the clean one."""
        settings = self.model_dump(exclude={"name", "weight", "ramp"})
        term = Term(branch="dropout", divergence="ce", weight=self.weight, ramp=self.ramp)
        return Slots(
            dropout=AdversarialDropout(target="labels", **settings), objective=Objective(terms=(term,))
        )
