"""Standard training: no perturbation."""

from __future__ import annotations

from typing import Literal

from engine.methods.base import Preset
from engine.models.base import ModelInfo
from engine.slots.slots import Slots


class Config(Preset):
    """theta <- theta - tau grad L(theta, x), through the trial's optimiser.

    >>> Config(name="standard").slots(ModelInfo({}, {}, (), {})).passes
    1
    """

    name: Literal["standard"]

    def slots(self, model: ModelInfo) -> Slots:
        """Empty slots."""
        return Slots()
