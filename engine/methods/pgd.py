"""PGD adversarial training: K small gradient steps on the input inside an L2 ball."""

from __future__ import annotations

from typing import Literal

from engine.methods.base import InputAs, Preset, split_targets
from engine.models.base import INPUT, ModelInfo
from engine.settings import Count, NonNegative, Positive
from engine.slots.ascent import InputAscent
from engine.slots.slots import Slots


class Config(Preset):
    """r^t = Proj_{||r|| <= epsilon}(r^{t-1} + step_size g^t / ||g^t||_2), t = 0 ... K - 1, r^{-1} = 0.

    g^t is the gradient of the loss at x + r^{t-1}; the update uses grad L(x) + grad L(x + r^{K-1}), as
    in the implementation that DropAttack's code descends from. Cost: 1 + K passes, of which those
    between the first and the last need no weight gradients.

    Attributes:
        epsilon: radius of the ball; step_size: alpha; steps: K. Their defaults 1, 0.3 and 3 are those
            of that implementation (K = 3 in DropAttack, section 4.3).
        norm_over: one norm over the whole ``tensor`` of the batch, or for each ``sample``.
        input_as: text only: perturb the embedding ``matrix`` or the embedded ``activations``.

    Source: DropAttack, Eq. 3; Madry et al. (ICLR 2018) in its L2 form.
    """

    name: Literal["pgd"]
    epsilon: NonNegative = 1.0
    step_size: Positive = 0.3
    steps: Count = 3
    norm_over: Literal["tensor", "sample"] = "tensor"
    input_as: InputAs = "matrix"

    def slots(self, model: ModelInfo) -> Slots:
        """A projected ascent on the input, of which the last pass is learnt from."""
        inputs, _ = split_targets((INPUT,), model, self.input_as)
        return Slots(
            input=InputAscent(
                targets=inputs,
                update="project",
                gradient="current",
                learn_from="last",
                **self.model_dump(include={"epsilon", "step_size", "steps", "norm_over"}),
            )
        )
