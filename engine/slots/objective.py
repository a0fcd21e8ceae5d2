"""The objective slot: which losses at which points are added up.

    L = natural * CE(f(x), y)  +  sum over terms  weight * ramp(t) * D[target, f at the term's branch]

A branch is the same network at another point: at the attacked input, under an adversarial dropout mask,
with another draw of its noise, or at the mean of its own earlier answers.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from engine.errors import InputError
from engine.settings import Flag, Frozen, NonNegative, Probability, Whole

Branch = Literal["attack", "dropout", "view", "ensemble"]
Divergence = Literal["ce", "margin", "kl", "squared", "mart"]
AGAINST_LABELS: tuple[Divergence, ...] = ("ce", "margin")
"""Divergences from the labels; the others are from the natural prediction f(x)."""


class Term(Frozen):
    """weight * ramp(t) * mean_i D[target_i, q_i] with q = f at the branch and p = f(x).

    ==========  ==================================================================================
    ``ce``      -log q_y: the loss itself, at the branch
    ``margin``  -log q_y - log(1.0001 - max_{k != y} q_k): MART's boosted cross-entropy
    ``kl``      KL(p || q) = sum_c p_c (log p_c - log q_c)
    ``squared`` (1/C) sum_c (p_c - q_c)^2: the quadratic error
    ``mart``    KL(p || q) (1.0000001 - p_y)
    ==========  ==================================================================================

    For a model that reconstructs its input ``ce`` stands for its reconstruction error.

    Attributes:
        branch: ``attack`` is f(x'), with x' from the input slot; ``dropout`` is f under the mask of the
            dropout slot; ``view`` is f at the second augmented copy and under other dropout masks;
            ``ensemble`` is the moving average of earlier predictions (temporal ensembling).
        divergence: D, see above.
        weight: lambda, or beta.
        ramp: epochs over which the weight grows as exp(-5 (1 - t / ramp)^2); 0 starts with all of it.
        detach: hold the target p fixed, so that gradients flow into the branch alone.

    Source: TRADES (Zhang et al. 2019), Eq. 5; MART (Wang et al. 2020), Eq. 8 and 9 and its code;
    Adversarial Dropout, Eq. 4-7; Laine and Aila (2017), ramp of its appendix A.
    """

    branch: Branch
    divergence: Divergence
    weight: NonNegative = 1.0
    ramp: Whole = 0
    detach: Flag = False

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if self.branch == "ensemble" and self.divergence not in ("kl", "squared"):
            raise InputError(
                "method.objective.terms.divergence", self.divergence, "kl or squared from an ensemble"
            )
        if self.branch == "ensemble" and self.detach:
            legal = "false from an ensemble, which has no gradient of its own"
            raise InputError("method.objective.terms.detach", True, legal)
        return self


class Objective(Frozen):
    """The loss of one point of the weights.

    Attributes:
        natural: weight of the cross-entropy at the unattacked input.
        terms: what else is added.
        entropy: weight of the conditional entropy -sum_c p_c log p_c, averaged over the unlabelled
            examples.
        unlabelled: lambda of Eq. 4 of AWP: weight of pseudo-labelled examples beside labelled ones.
        momentum: alpha of the ensemble.

    Source: Adversarial Dropout, Eq. 6 and 7 (the entropy is in its released code); AWP, Eq. 1-4.
    """

    natural: NonNegative = 1.0
    terms: tuple[Term, ...] = ()
    entropy: NonNegative = 0.0
    unlabelled: NonNegative = 1.0
    momentum: Probability = 0.6

    @model_validator(mode="after")
    def _ensemble_moves(self) -> Self:
        if self.momentum == 1:
            raise InputError("method.objective.momentum", 1, "below 1: the ensemble would stay empty")
        return self

    def uses(self, branch: Branch) -> bool:
        """Whether some term looks at this branch."""
        return any(term.branch == branch for term in self.terms)

    def collapsed(self, attacked: bool) -> Objective:
        """The simplest form: no term of weight 0; without an attack x' = x.

        There ``ce`` is the natural loss and a divergence of f(x) from itself is zero.
        """
        natural, kept = self.natural, []
        for term in self.terms:
            same = term.branch == "attack" and not attacked and term.divergence != "margin"
            if same and term.divergence == "ce" and term.ramp == 0:
                natural += term.weight
            elif term.weight and not (same and term.divergence != "ce"):
                idle = {"detach": False} if term.divergence in AGAINST_LABELS else {}
                kept.append(term.model_copy(update=idle))
        found = self.model_copy(update={"natural": natural, "terms": tuple(kept)})
        return found if found.uses("ensemble") else found.model_copy(update={"momentum": 0.6})
