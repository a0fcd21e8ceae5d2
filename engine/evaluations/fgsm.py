"""FGSM: one step of the radius's length; in the L2 norm the fast gradient method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from engine.evaluations.attacks import AttackConfig

if TYPE_CHECKING:
    from torch import Tensor

    from engine.evaluations.robust import Point


class Config(AttackConfig):
    """x + epsilon sign(g), or x + epsilon g / ||g||_2, with g = grad_x of the cross-entropy.

    >>> Config(name="fgsm").epsilon * 255
    8.0

    Source: Goodfellow et al. (2015), section 4; Miyato et al. (2017), Eq. 5 for L2; AWP, Table 2.
    """

    name: Literal["fgsm"]

    def tries(self, point: Point) -> Iterator[Tensor]:
        """One step from x."""
        from engine.perturb.inputs import ascend
        from engine.slots.attack import Attack

        step = Attack(
            kind="attack", norm=self.norm, epsilon=self.epsilon, steps=1, start="zero", clamp=point.clamp
        )
        yield ascend(step, point.x, point.gradient, point.draw(self.seed, 0), point.inside)
