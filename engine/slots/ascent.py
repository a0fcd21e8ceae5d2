"""Ascents: masked gradient steps whose passes are learnt from as further terms of the sum (DropAttack).

Nothing here imports torch; :mod:`engine.step` carries them out.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from engine.settings import Count, Frozen, NonNegative, Positive, Probability


class Ascent(Frozen):
    """How one group of targets is perturbed: K ascent steps under a fixed random mask.

    With g^0 the gradient of the clean loss and g^t the gradient that defines the step t = 1 ... K,

        accumulated:  g^t = g^{t-1} + (1/K) grad L(. + M * r^{t-1})
        current:      g^t = grad L(. + M * r^{t-1})

        replace:      r^t = epsilon * g^t / ||g^t||
        accumulate:   r^t = r^{t-1} + epsilon * g^t / ||g^t||
        project:      r^t = Proj_{||r|| <= epsilon}(r^{t-1} + step_size * g^t / ||g^t||)

    starting from r^0 = the same step taken with g^0 from zero. M ~ Bernoulli(p), drawn once per
    optimisation step and target.

    Attributes:
        targets: concrete names: parameters, or ``input`` for the input tensor itself.
        epsilon: radius of the perturbation, an L2 norm in the unit of the target.
        p: probability that an element is attacked.
        steps: K, the number of perturbed forward and backward passes.
        norm_over: what a norm is taken over: each whole ``tensor``, each ``sample`` of the batch
            (input tensors only), or all targets of the group together (``joint``).
        update: how a step changes the perturbation, see above.
        step_size: alpha of ``project``, in the unit of epsilon; None elsewhere.
        gradient: which gradient defines a step, see above.
        learn_from: whose gradients update the weights: ``all`` K passes, each with weight 1/K; the
            ``last`` one alone; or ``every`` pass, the one at the start included, each with 1/(1 + K).
        mask_scale: ``none`` leaves M as drawn (then ||M * r|| is about epsilon sqrt(p)); ``inverse_p``
            multiplies it by 1/p.
        statistics: whether the K passes move BatchNorm's running statistics (``live``, as in the released
            code) or the unperturbed pass alone does (``frozen``).

    Source: DropAttack, Algorithms 1 and 2 (accumulated, replace, all); the released code accumulates.
    """

    targets: tuple[str, ...]
    epsilon: NonNegative
    p: Probability = 1.0
    steps: Count = 1
    norm_over: Literal["tensor", "sample", "joint"] = "tensor"
    update: Literal["replace", "accumulate", "project"] = "replace"
    step_size: Positive | None = None
    gradient: Literal["accumulated", "current"] = "accumulated"
    learn_from: Literal["all", "last", "every"] = "all"
    mask_scale: Literal["none", "inverse_p"] = "none"
    statistics: Literal["live", "frozen"] = "live"
    kind: Literal["ascent"] = "ascent"

    @model_validator(mode="after")
    def _step_size_belongs_to_project(self) -> Self:
        if (self.update == "project") != (self.step_size is not None):
            raise ValueError("step_size is given exactly when update is 'project'")
        return self

    @property
    def _from_zero(self) -> bool:
        """Whether r starts at zero."""
        return True

    def collapsed(self) -> Self | None:
        """The same perturbation in its simplest form, None where it perturbs nothing.

        Nothing is perturbed without targets; nor, from zero, at epsilon 0 or at p = 0. From a random start
        its noise is left there, and how the ascent would go on has no effect. With a single step only r^0 is
        ever used, so what follows it (``gradient``, ``learn_from``) has no effect; from zero ``accumulate``
        is ``replace``, and so is ``project`` with a step inside its ball, with the step as its radius.
        With p = 1 the mask's scale has no effect, with one target neither has ``joint``.
        """
        silent = self.epsilon == 0 or self.p == 0
        if not self.targets or (silent and self._from_zero):
            return None
        idle: dict[str, object] = {"targets": tuple(sorted(set(self.targets)))}
        if self.p == 0 or (silent and self.update != "accumulate"):  # which stays at its start
            idle |= {"epsilon": 0.0, "p": 1.0, "norm_over": "tensor", "update": "replace", "step_size": None}
            idle |= {"gradient": "accumulated", "mask_scale": "none"}
        if self.steps == 1:
            idle |= {"gradient": "accumulated"}
            if self.learn_from == "last":
                idle["learn_from"] = "all"
        if self.steps == 1 and self._from_zero:
            if self.update == "accumulate":
                idle["update"] = "replace"
            if self.step_size is not None and self.step_size < self.epsilon:  # the ball is not reached
                idle |= {"update": "replace", "epsilon": self.step_size, "step_size": None}
        if self.p == 1:
            idle["mask_scale"] = "none"
        if self.norm_over == "joint" and len(set(self.targets)) == 1:
            idle["norm_over"] = "tensor"
        return self.model_copy(update=idle)


class InputAscent(Ascent):
    """An :class:`Ascent` on the input.

    Attributes:
        clamp: (low, high) range that x + M * r is clamped to (pixels that augmentation left outside of it
            go no further out); None does not clamp.
        start: norm bound of the point from which the ascent starts: each example's r^{-1} is uniform in
            (-1, 1) * start / sqrt(n) over its n elements (padding left at zero), so that its norm is at
            most ``start``; 0 starts at x itself. The unperturbed pass is then at x + r^{-1}, also where
            epsilon is 0 and the K passes are at x.

    Source: FreeLB (Zhu et al. 2020), Algorithm 1 and its code, for ``start``.
    """

    clamp: tuple[float, float] | None = None
    start: NonNegative = 0.0

    @property
    def _from_zero(self) -> bool:
        return self.start == 0
