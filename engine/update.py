"""How gradients become updates, as settings: optimiser, schedule of the learning rate, penalties."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.errors import InputError
from engine.settings import Flag, Frozen, NonNegative, Positive, Probability, Whole


class Adam(Frozen):
    """Adam (Kingma and Ba 2015); ``weight_decay`` is an L2 term in the gradient."""

    name: Literal["adam"]
    lr: Positive = 1e-3
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0

    @model_validator(mode="after")
    def _betas_are_below_one(self) -> Self:
        if max(self.betas) == 1:
            raise InputError("optimizer.betas", self.betas, "two numbers >= 0 and below 1")
        return self


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: Literal["adamw"]  # type: ignore[assignment]
    weight_decay: NonNegative = 1e-2


class SGD(Frozen):
    """Stochastic gradient descent; ``weight_decay`` is an L2 term in the gradient."""

    name: Literal["sgd"]
    lr: Positive = 0.1
    momentum: Probability = 0.0
    nesterov: Flag = False
    weight_decay: NonNegative = 0.0

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise InputError("optimizer.nesterov", True, "false, or true with a momentum > 0")
        return self


OPTIMIZERS: dict[str, type[Adam] | type[AdamW] | type[SGD]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}


class Schedule(Frozen):
    """How the learning rate moves, by the number of epochs trained so far, set before each step."""

    name: str

    @abstractmethod
    def factor(self, epoch: float, epochs: int) -> float:
        """What the learning rate is multiplied by at ``epoch`` (with its fraction) of ``epochs``."""


class Constant(Schedule):
    """The learning rate stays."""

    name: Literal["constant"]

    def factor(self, epoch: float, epochs: int) -> float:
        """Always 1."""
        return 1.0


class Piecewise(Schedule):
    """The learning rate is multiplied by ``factors`` at each of the milestones.

    Attributes:
        at: milestones, as fractions of the training (AWP: 0.5 and 0.75).
        decay: what it is multiplied by at each.

    >>> Piecewise(name="piecewise").factor(100, 200)
    0.1
    """

    name: Literal["piecewise"]
    at: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.75)
    decay: Positive = 0.1

    def factor(self, epoch: float, epochs: int) -> float:
        """decay^(milestones passed)."""
        return self.decay ** sum(epoch >= fraction * epochs for fraction in self.at)


class Cosine(Schedule):
    """(1 + cos(pi t / T)) / 2.

    Source: Loshchilov and Hutter (2017) without restarts; AWP, appendix C.1.
    """

    name: Literal["cosine"]

    def factor(self, epoch: float, epochs: int) -> float:
        """From 1 to 0."""
        return (1 + math.cos(math.pi * epoch / epochs)) / 2


class Cyclic(Schedule):
    """Linear from 0 to the learning rate at the peak, and linear to 0 at the end.

    Attributes:
        peak: as a fraction of the training (AWP: epoch 80 of 200).

    Source: Smith (2017); AWP, appendix C.1, with the learning rate 0.2.
    """

    name: Literal["cyclic"]
    peak: Annotated[float, Field(gt=0, lt=1)] = 0.4

    def factor(self, epoch: float, epochs: int) -> float:
        """Up, then down."""
        top = self.peak * epochs
        return epoch / top if epoch < top else (epochs - epoch) / (epochs - top)


class Ramps(Schedule):
    """exp(-5 (1 - t/up)^2) in the first epochs, exp(-(t'/2)^2 / down) in the last, and Adam's beta_1 with it.

    t' counts from the start of the last ``down`` epochs, in which beta_1 falls towards ``beta1`` as the
    learning rate does.

    Attributes:
        up: epochs of the ramp-up. down: epochs of the ramp-down. beta1: beta_1 at the very end.

    Source: Adversarial Dropout's released experiments; Laine and Aila (2017), appendix A.
    """

    name: Literal["ramps"]
    up: Whole = 80
    down: Whole = 50
    beta1: Probability = 0.5

    def factor(self, epoch: float, epochs: int) -> float:
        """Ramp-up times ramp-down."""
        up = math.exp(-5 * (1 - epoch / self.up) ** 2) if epoch < self.up else 1.0
        return up * self._down(epoch, epochs)

    def betas(self, betas: tuple[float, float], epoch: float, epochs: int) -> tuple[float, float]:
        """beta_1 on its way down."""
        share = self._down(epoch, epochs)
        return share * betas[0] + (1 - share) * self.beta1, betas[1]

    def _down(self, epoch: float, epochs: int) -> float:
        late = epoch - (epochs - self.down)
        return math.exp(-((late / 2) ** 2) / self.down) if self.down and late > 0 else 1.0


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "piecewise": Piecewise,
    "cosine": Cosine,
    "cyclic": Cyclic,
    "ramps": Ramps,
}


class Regularise(Frozen):
    """l1 sum |w| + (l2 / 2) sum w^2 over the weights, added to the loss.

    Weights are parameters of more than one dimension; biases and normalisation are left out. Under SGD
    ``l2`` on a weight is its weight decay; under Adam it is divided by the running gradient norm like the
    loss itself (what Adam calls weight decay), while AdamW's weight decay is not.

    Attributes:
        l1, l2: AWP's comparison has 5e-6 and 5e-3 (section 5.3, after Rice et al.).
    """

    l1: NonNegative = 0.0
    l2: NonNegative = 0.0
