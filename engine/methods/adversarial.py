"""What the presets of adversarial training share: the attack's settings, and weight perturbation on top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import field_validator

from engine.methods.base import AWP, Preset, WeightBlock, pixels, relative
from engine.models.base import ModelInfo
from engine.settings import Count, NonNegative, Positive
from engine.slots.attack import PIXELS, Attack, Norm, Range
from engine.slots.objective import Objective
from engine.slots.slots import Slots
from engine.slots.weight import Relative


class Adversarial(Preset):
    """Settings of an attack by projected gradient steps, and of a weight perturbation.

    Attributes:
        norm, epsilon, steps, step_size, start, start_size, clamp, mode, statistics: as of
            :class:`engine.slots.attack.Attack`.
        weight: null; AWP (``{gamma: 0.005}``, see :class:`engine.slots.weight.Relative`; without a ``kind``,
            what is not written is the preset's own); or its random control (``{kind: random, gamma: 0.5}``).
    """

    norm: Norm = "linf"
    epsilon: NonNegative = 8 / 255
    steps: Count = 10
    step_size: Positive | None = 2 / 255
    start: Literal["zero", "uniform", "gaussian"] = "uniform"
    start_size: Positive = 1.0
    clamp: Range | None = PIXELS
    mode: Literal["train", "eval"] = "train"
    statistics: Literal["live", "frozen"] = "live"
    weight: WeightBlock | None = None

    @field_validator("weight", mode="before", json_schema_input_type=WeightBlock | AWP | None)
    @classmethod
    def _filled(cls, value: Any) -> Any:
        """AWP where no kind is written, with the preset's own settings where others are not."""
        if not isinstance(value, Mapping) or "kind" in value:
            return value
        own = cls.model_fields["weight"].default or AWP()
        return own.model_dump() | dict(value)

    def composed(
        self, model: ModelInfo, objective: Objective, against: Literal["labels", "prediction"]
    ) -> Slots:
        """The slots with this attack, the weight perturbation and an objective."""
        chosen = {"norm", "epsilon", "steps", "step_size", "start", "start_size", "mode", "statistics"}
        attack = Attack(
            kind="attack", against=against, clamp=pixels(model, self.clamp), **self.model_dump(include=chosen)
        )
        return Slots(input=attack, weight=relative(self.weight, model), objective=objective)


def awp(gamma: float, warmup: int = 0) -> Relative:
    """Adversarial weight perturbation of relative size gamma, from epoch ``warmup`` on."""
    return Relative(kind="relative", gamma=gamma, warmup=warmup)
