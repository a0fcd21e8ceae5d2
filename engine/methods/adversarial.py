"""What the presets of adversarial training share: the attack's settings, and weight perturbation on top."""

from __future__ import annotations

from typing import Literal

from engine.methods.base import Preset, WeightBlock, pixels, relative
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
        weight: null; AWP (``{kind: relative, gamma: 0.005}``, see :class:`engine.slots.weight.Relative`);
            or its random control (``{kind: random, gamma: 0.5}``).
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
