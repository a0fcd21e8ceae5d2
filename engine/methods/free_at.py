"""Free adversarial training: each batch is replayed, and one backward pass moves weights and perturbation."""

from __future__ import annotations

from typing import Literal

from engine.methods.base import Preset, pixels
from engine.models.base import ModelInfo
from engine.settings import Count, NonNegative, Positive
from engine.slots.attack import PIXELS, Norm, Range, Replay
from engine.slots.slots import Slots


class Config(Preset):
    """m times a batch:  theta <- update(grad_theta L(theta, x + r)),  r <- clip(r + epsilon sign(grad_r L)).

    r is carried over to the next batch, by place (images), or drawn anew (texts). Each replay is an update
    of the weights, so that m times fewer epochs cost as much as standard training.

    Attributes:
        replays: m (3 in DropAttack's comparison, 8 in the paper's on CIFAR-10).
        norm: of the ball: null takes linf for images and l2 for texts.
        epsilon: radius and, unless ``step_size`` is given, size of the step.
        step_size: of the perturbation. clamp: range of attacked pixels (none for text).

    Source: Shafahi et al. (NeurIPS 2019), Algorithm 1; FreeLB's repository for texts.
    """

    name: Literal["free_at"]
    replays: Count = 3
    norm: Norm | None = None
    epsilon: NonNegative = 8 / 255
    step_size: Positive | None = None
    clamp: Range | None = PIXELS

    def slots(self, model: ModelInfo) -> Slots:
        """A replayed input perturbation."""
        image = model.kind == "image"
        return Slots(
            input=Replay(
                kind="replay",
                replays=self.replays,
                norm=self.norm or ("linf" if image else "l2"),
                epsilon=self.epsilon,
                step_size=self.step_size,
                clamp=pixels(model, self.clamp),
                carry=image,
            )
        )
