"""SPSA: a black-box attack by estimated gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from engine.evaluations.attacks import Ascended, AttackConfig
from engine.settings import Count, Positive

if TYPE_CHECKING:
    from torch import Tensor

    from engine.evaluations.robust import Point


class Config(AttackConfig):
    """Adam on SPSA's estimate of the margin's gradient, from x, projected after each step.

    Attributes:
        steps: number of updates. delta: where losses are compared. lr: Adam's step size.
        samples: random directions of one estimate, each of two forward passes, so that an example costs
            2 * steps * samples of them.

    Source: Uesato et al. (2018), Algorithm 1; settings of AWP, section 5.2, which says "256 samples for
    each gradient estimation" (read as directions).
    """

    name: Literal["spsa"]
    steps: Count = 100
    delta: Positive = 0.001
    lr: Positive = 0.01
    samples: Count = 256

    @property
    def ascended(self) -> Ascended:
        """The margin."""
        return "margin"

    def tries(self, point: Point) -> Iterator[Tensor]:
        """One ascent."""
        import torch

        from engine.perturb.inputs import within
        from engine.perturb.spsa import climb

        def project(r: Tensor) -> Tensor:
            inside = r if point.inside is None else r * point.inside
            return within(inside, point.x, self.norm, self.epsilon, point.clamp)

        yield climb(
            point.losses, torch.zeros_like(point.x), point.draw(self.seed, 0), project,
            steps=self.steps, lr=self.lr, delta=self.delta, samples=self.samples,
        )  # fmt: skip
