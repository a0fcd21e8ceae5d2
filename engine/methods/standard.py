"""Standard training: no perturbation."""

from __future__ import annotations

from typing import Literal

from engine.methods.base import Preset
from engine.methods.slots import Slots
from engine.models.base import ModelInfo


class Config(Preset):
    """theta <- theta - tau grad L(theta, x), through the trial's optimiser.

    >>> Config(name="standard").slots(ModelInfo({}, {}, (), {})).passes
    1
    """

    name: Literal["standard"]

    def slots(self, model: ModelInfo) -> Slots:
        """Empty slots."""
        return Slots()
