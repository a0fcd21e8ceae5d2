"""FGM: one gradient step on the input, unmasked."""

from __future__ import annotations

from typing import Literal

from engine.methods.base import InputAs, Preset, split_targets
from engine.models.base import INPUT, ModelInfo
from engine.settings import NonNegative
from engine.slots.ascent import InputAscent
from engine.slots.slots import Slots


class Config(Preset):
    """r = epsilon g / ||g||_2 with g = grad_x L(theta, x); the update uses grad L(x) + grad L(x + r).

    Attributes:
        epsilon: radius; 1 is the value of the widely copied implementation (the papers compared with
            do not give theirs).
        norm_over: ``tensor`` takes one norm over the whole batch, as DropAttack's code base does;
            ``sample`` one for each example, as Miyato et al. (2017) do.
        input_as: text only: perturb the embedding ``matrix`` or the embedded ``activations``.

    Source: Miyato, Dai, Goodfellow (ICLR 2017), Eq. 5; DropAttack, Eq. 2.
    """

    name: Literal["fgm"]
    epsilon: NonNegative = 1.0
    norm_over: Literal["tensor", "sample"] = "tensor"
    input_as: InputAs = "matrix"

    def slots(self, model: ModelInfo) -> Slots:
        """DropAttack on the input alone, with p = 1 and K = 1."""
        inputs, _ = split_targets((INPUT,), model, self.input_as)
        return Slots(input=InputAscent(targets=inputs, epsilon=self.epsilon, norm_over=self.norm_over))
