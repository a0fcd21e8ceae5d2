"""RST: TRADES on labelled and pseudo-labelled examples."""

from __future__ import annotations

from typing import Literal

from engine.methods import trades
from engine.models.base import ModelInfo
from engine.settings import NonNegative
from engine.slots.slots import Slots


class Config(trades.Config):
    """min over theta of  rho(labelled) + unlabelled * rho(pseudo-labelled),  rho being TRADES' loss.

    Pseudo-labels come from a standard model, the trial's parent: ``init: {from: {method: standard},
    use: labels}``, and the examples from ``data.extra`` or ``data.labelled``; a batch holds
    ``batch_size`` labelled and ``unlabelled_batch`` pseudo-labelled ones (half and half as published).

    Attributes:
        unlabelled: weight of the pseudo-labelled examples, 1 as published.
        norm, epsilon, steps, step_size, start, start_size, clamp, mode, statistics, beta, weight: as of
            TRADES.

    Source: Carmon et al. (NeurIPS 2019), section 3 and Algorithm 1; AWP, Eq. 4.
    """

    name: Literal["rst"]  # type: ignore[assignment]
    unlabelled: NonNegative = 1.0

    def slots(self, model: ModelInfo) -> Slots:
        """TRADES, with the weight of the pseudo-labelled examples."""
        slots = super().slots(model)
        objective = slots.objective.model_copy(update={"unlabelled": self.unlabelled})
        return slots.model_copy(update={"objective": objective})
