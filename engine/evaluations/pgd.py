"""PGD-K: projected gradient ascent with restarts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from engine.errors import InputError
from engine.evaluations.attacks import Ascended, AttackConfig
from engine.settings import Count, Positive
from engine.slots.attack import Attack

if TYPE_CHECKING:
    from torch import Tensor

    from engine.evaluations.robust import Point


class Config(AttackConfig):
    """K steps  r <- clip(Proj(r + step_size * sign(g) or g / ||g||_2)),  g = grad_r of the loss at x + r.

    Attributes:
        steps: K. step_size: of one step, in the unit of epsilon.
        start: ``uniform`` in the ball (for l2 a Gaussian direction of uniform radius) or ``zero``.
        restarts: number of starts; each example keeps its worst.
        loss: what is raised: the cross-entropy (``ce``) or the ``margin`` max_{k != y} z_k - z_y.

    Source: Madry et al. (2018), section 2.1; AWP, section 5.1: PGD-20, 8/255 and 2/255 for L-inf (for L2
    128/255 and 15/255).
    """

    name: Literal["pgd"]
    steps: Count = 20
    step_size: Positive = 2 / 255
    start: Literal["uniform", "zero"] = "uniform"
    restarts: Count = 1
    loss: Ascended = "ce"

    @model_validator(mode="after")
    def _restarts_differ(self) -> Self:
        if self.restarts > 1 and self.start == "zero":
            raise InputError(
                "evaluation.restarts", self.restarts, "1 from a zero start: others would be the same"
            )
        return self

    @property
    def ascended(self) -> Ascended:
        """What the attack raises."""
        return self.loss

    def attack(self, clamp: tuple[float, float] | None) -> Attack:
        """The attack on one restart."""
        return Attack(
            kind="attack", norm=self.norm, epsilon=self.epsilon, steps=self.steps,
            step_size=self.step_size, start=self.start, clamp=clamp, mode="eval",
        )  # fmt: skip

    def tries(self, point: Point) -> Iterator[Tensor]:
        """One perturbation a restart."""
        from engine.perturb.inputs import ascend

        settings = self.attack(point.clamp)
        for restart in range(self.restarts):
            draw = point.draw(self.seed, restart)
            yield ascend(settings, point.x, point.gradient, draw, point.inside)

    def at(self, epsilon: float) -> Self:
        """The same attack in another ball: the step keeps its ratio to the radius.

        >>> Config(name="pgd").at(4 / 255).step_size * 255
        1.0
        """
        if self.epsilon == 0:
            raise InputError(
                "evaluation.attack.epsilon", 0, "a number > 0, which says how long a step is in the ball"
            )
        size = self.step_size * epsilon / self.epsilon
        return self.model_copy(update={"epsilon": epsilon, "step_size": size})
