"""The input slot's attacks: perturbations that replace x in the objective, instead of adding terms to it.

:class:`Attack` finds an adversarial example by projected gradient steps, :class:`Virtual` one step along
the direction in which the prediction changes most, :class:`Replay` moves one perturbation along with the
training itself.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from engine.errors import InputError
from engine.models.base import INPUT
from engine.settings import Count, Flag, Frozen, NonNegative, Positive, Probability

Norm = Literal["linf", "l2"]
Range = tuple[float, float]
PIXELS: Range = (0.0, 1.0)


class Attack(Frozen):
    """K steps of projected gradient ascent, each example in its own ball.

        linf:  r <- clip_{|r| <= epsilon}(r + M * step_size * sign(g))
        l2:    r <- Proj_{||r||_2 <= epsilon}(r + M * step_size * g / ||g||_2)

    with g = grad_r D and, where x + r has a range, r <- clip(x + r) - x, which takes no
    element of x that lies outside further out. M ~ Bernoulli(p) is drawn once a step of the optimiser.
    K = 1 from zero with step_size = epsilon is FGSM.

    Attributes:
        norm: of the ball. epsilon: its radius, in the unit of the input (pixels lie in [0, 1]).
        steps: K. step_size: of one step; None takes epsilon.
        start: ``zero``; ``uniform`` in the ball (for l2 a Gaussian direction of uniform radius);
            ``gaussian`` noise of deviation ``start_size`` (TRADES: 0.001).
        start_size: unit of the start: a fraction of epsilon, or the deviation.
        against: D: the loss against the ``labels``, or KL(f(x) || f(x + r)) from the ``prediction``.
        p: probability that an element is attacked.
        clamp: range of x + r; None for none.
        mode: whether BatchNorm and dropout work as in ``train`` or as in ``eval`` in the attack's passes.
        statistics: in train mode, whether those passes move BatchNorm's running statistics (``live``) or
            not (``frozen``).

    Source: Madry et al. (2018); AWP, Eq. 9, 14 and 16; Goodfellow et al. (2015); REFERENCE of the released
    codes in ``docs/methods.md``.
    """

    kind: Literal["attack"]
    norm: Norm = "linf"
    epsilon: NonNegative = 8 / 255
    steps: Count = 10
    step_size: Positive | None = None
    start: Literal["zero", "uniform", "gaussian"] = "uniform"
    start_size: Positive = 1.0
    against: Literal["labels", "prediction"] = "labels"
    p: Probability = 1.0
    clamp: Range | None = PIXELS
    mode: Literal["train", "eval"] = "train"
    statistics: Literal["live", "frozen"] = "live"

    @model_validator(mode="after")
    def _clamp_is_a_range(self) -> Self:
        if self.clamp is not None and not self.clamp[0] < self.clamp[1]:
            raise InputError("method.clamp", self.clamp, "two numbers, the lower one first")
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        """What is perturbed: the input tensor."""
        return (INPUT,)

    @property
    def alpha(self) -> float:
        """Size of one step."""
        return self.epsilon if self.step_size is None else self.step_size

    def collapsed(self) -> Self | None:
        """None where nothing is perturbed; settings without effect at their defaults."""
        if self.epsilon == 0 or self.p == 0:
            return None
        idle: dict[str, object] = {"step_size": None} if self.step_size == self.epsilon else {}
        if self.start == "zero":
            idle["start_size"] = 1.0
        if self.mode == "eval":
            idle["statistics"] = "live"
        return self.model_copy(update=idle)


class Virtual(Frozen):
    """The virtual adversarial direction, by power iteration.

        d <- random unit vector;   n times  d <- g / ||g||_2,  g = grad_r KL(f(x) || f(x + r)) at r = xi d
        r = epsilon d

    each example by itself; f(x) is held fixed.

    Attributes:
        epsilon: radius (8 on CIFAR-10, 3.5 on SVHN in Adversarial Dropout's code; an L2 norm).
        xi: where the derivative is taken; at the published 1e-6 float32 rounds part of it away (on a LeNet-5
            of digits a median cosine of 0.6 to the exact direction, 1.0 from 1e-3 on; KL rises as far).
        iterations: n.

    Source: Miyato et al. (2018), Algorithm 1 and Eq. 16; Adversarial Dropout, section "Adversarial Training".
    """

    kind: Literal["virtual"]
    epsilon: NonNegative = 8.0
    xi: Positive = 1e-6
    iterations: Count = 1
    clamp: Range | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """What is perturbed: the input tensor."""
        return (INPUT,)

    def collapsed(self) -> Self | None:
        """None at radius 0."""
        return self if self.epsilon else None


class Replay(Frozen):
    """Free adversarial training: m updates on a batch, each a step of the perturbation too.

        m times:  g_theta, g_r = grad L(theta, x + r);  theta <- update(g_theta);  r <- Proj(r + step(g_r))

    Attributes:
        replays: m. norm, epsilon, step_size, clamp: as of :class:`Attack`; None takes epsilon.
        carry: keep r from batch to batch, by place in the batch (images); else start anew from a uniform
            draw (texts).

    Source: Shafahi et al. (2019), Algorithm 1; the text variant is that of FreeLB's repository.
    """

    kind: Literal["replay"]
    replays: Count = 3
    norm: Norm = "linf"
    epsilon: NonNegative = 8 / 255
    step_size: Positive | None = None
    clamp: Range | None = PIXELS
    carry: Flag = True

    @property
    def targets(self) -> tuple[str, ...]:
        """What is perturbed: the input tensor."""
        return (INPUT,)

    @property
    def alpha(self) -> float:
        """Size of one step."""
        return self.epsilon if self.step_size is None else self.step_size

    def collapsed(self) -> Self | None:
        """Kept also at epsilon 0 while a batch is replayed; None for one unperturbed pass."""
        if self.epsilon == 0:
            return None if self.replays == 1 else type(self)(kind="replay", replays=self.replays, epsilon=0.0,
                                                             clamp=None, carry=False)  # fmt: skip
        return self.model_copy(update={"step_size": None}) if self.step_size == self.epsilon else self
