"""The dropout slot: the worst mask near a base mask."""

from __future__ import annotations

from typing import Literal

from engine.settings import Flag, Frozen, Probability


class AdversarialDropout(Frozen):
    """The mask within a budget of flips that most raises the divergence to first order.

        J = grad_e D[target, f(x, e)] = h * grad_h D          (Eq. 9-11)
        e = e_s with the L units flipped that have the largest |J| among those whose flip raises D:
            on-units with J < 0, off-units with J > 0          (Algorithm 1)

    which solves the 0/1 knapsack max_e J (e - e_s) exactly, since all flips weigh the same. The budget
    per example is L = floor(delta H) flips (Hamming, what the released code does) or floor((delta H)^2)
    (``l2``: the bound ||e_s - e||_2 <= delta H as printed), at most H.

    Attributes:
        site: name of the dropout site, of H units for each example.
        delta: strength. budget: how it bounds the flips.
        base: e_s: all ``ones`` (code), or ``bernoulli`` with the site's own p (paper). The natural
            branch is under e_s too.
        jacobian_at: where J is taken: e^0 = ``ones`` (Eq. 9) or the ``base`` mask, where the virtual
            divergence has zero gradient if both branches see one and the same view.
        rescale: multiply a mask e by H / sum(e) (code).
        target: D from the ``labels`` (SAdD) or from the natural ``prediction`` (VAdD).
        divergence: D of the search, ``kl`` (for labels the cross-entropy) or ``squared``.
        reverse: take KL(f(x, e) || f(x)) in the search, as the released code does.
        views: 2 gives this branch the second augmented copy of the example (code); 1 the same one.

    Source: Adversarial Dropout, Eq. 3-11 and Algorithm 1; released code for the rest.
    """

    site: str = "dropout"
    delta: Probability = 0.05
    budget: Literal["hamming", "l2"] = "hamming"
    base: Literal["ones", "bernoulli"] = "ones"
    jacobian_at: Literal["ones", "base"] = "ones"
    rescale: Flag = True
    target: Literal["labels", "prediction"] = "prediction"
    divergence: Literal["kl", "squared"] = "kl"
    reverse: Flag = False
    views: Literal[1, 2] = 1

    def flips(self, units: int) -> int:
        """L for a layer of H units.

        >>> AdversarialDropout(delta=0.05).flips(128), AdversarialDropout(delta=0.05, budget="l2").flips(128)
        (6, 40)
        """
        bound = self.delta * units
        return min(units, int((bound if self.budget == "hamming" else bound**2) + 1e-9))

    def collapsed(self) -> AdversarialDropout:
        """Settings without effect at their defaults."""
        idle: dict[str, object] = {}
        if self.base == "ones":
            idle["jacobian_at"] = "ones"
        if self.target == "labels":
            idle["divergence"] = "kl"
        if self.divergence != "kl" or self.target == "labels":
            idle["reverse"] = False
        return self.model_copy(update=idle)
