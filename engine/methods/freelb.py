"""FreeLB: the mean gradient over K steps of an ascent on the embedded text."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from engine.errors import InputError
from engine.methods.base import Preset, pixels
from engine.models.base import INPUT, ModelInfo
from engine.settings import Count, NonNegative, Positive
from engine.slots.ascent import InputAscent
from engine.slots.attack import Range
from engine.slots.slots import Slots


class Config(Preset):
    """theta learns from  (1/K) sum_{t=0}^{K-1} grad L(theta, x + r^t),

        r^0 uniform with ||r^0|| <= init,   r^{t+1} = Proj_{||r|| <= epsilon}(r^t + step_size g^t / ||g^t||),

    norms over each example. All K passes of a step have the same dropout masks. Cost: K full passes.

    Attributes:
        steps: K >= 2, the number of passes (3 in DropAttack's comparison).
        epsilon: radius of the ball. step_size: of one ascent step. init: bound of the start; 0 starts at x.
            With epsilon 0 the first pass is at the start and the others at x. Defaults are those published
            for RoBERTa on SST-2.
        clamp: range of perturbed pixels; none by default.

    Source: Zhu et al. (ICLR 2020), Algorithm 1; its released code for the start.
    """

    name: Literal["freelb"]
    steps: Count = 3
    epsilon: NonNegative = 0.6
    step_size: Positive = 0.1
    init: NonNegative = 0.6
    clamp: Range | None = None

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.steps < 2:
            raise InputError("method.steps", self.steps, "2 or more: the last pass leads to no step")
        return self

    def slots(self, model: ModelInfo) -> Slots:
        """An ascent on the input tensor of which every pass is learnt from, the first at the start."""
        return Slots(
            input=InputAscent(
                targets=(INPUT,),
                epsilon=self.epsilon,
                steps=self.steps - 1,
                norm_over="sample",
                update="project",
                step_size=self.step_size,
                gradient="current",
                learn_from="every",
                start=self.init,
                clamp=pixels(model, self.clamp) if self.clamp else None,
            )
        )
