"""DropAttack: masked worst-case perturbation of the input and of chosen weights."""

from __future__ import annotations

from typing import Literal

from engine.methods.base import Epsilon, InputAs, P, Preset, Probabilities, Radii, Targets, split_targets
from engine.models.base import ModelInfo
from engine.settings import Count, NonNegative
from engine.slots.ascent import Ascent, InputAscent
from engine.slots.slots import Slots


class Config(Preset):
    """For each batch, with masks M ~ Bernoulli(p) drawn once and fixed over the K steps:

        r^0 = epsilon g^0 / ||g^0||,                g^0 = grad L(theta, x)
        g^t = g^{t-1} + (1/K) grad L(. + M * r^{t-1}),   r^t = epsilon g^t / ||g^t||,   t = 1 ... K

    once for the group of input targets and once for the group of weight targets. The update uses
    clean_weight * g^0 + (1/K) sum_t grad L(x + M_x r_x^{t-1}) + (1/K) sum_t grad L(theta + M_w r_w^{t-1}),
    which for K = 1 is Algorithm 1. Cost: 1 + 2K forward and backward passes.

    Attributes:
        targets: what is attacked: ``input`` (or ``embedding``), aliases and glob patterns of parameters.
        epsilon: perturbation coefficient, one number or ``{input, weight}``.
        p: attack probability, one number or ``{input, weight}``.
        steps: K.
        norm_over: the norm of each whole ``tensor`` (paper and code), of each ``sample`` (input
            tensors only), or ``joint`` over the group.
        update: ``replace`` as printed, or ``accumulate`` as the released code does for K > 1.
        clean_weight: 1 (Algorithm 1 and the code) or 2 (Algorithm 2 as printed).
        input_as: text only: attack the embedding ``matrix`` (code) or the embedded ``activations``.
        mask_scale: ``none`` (paper and code) or ``inverse_p``.
        clamp: range that an attacked input tensor is clamped to; none by default.

    Source: DropAttack (ICLR 2022 submission), Algorithms 1 and 2, Eq. 5-7; defaults epsilon 5, p 0.5 are
    those of its Tables 5-9.
    """

    name: Literal["dropattack"]
    targets: Targets = ("input",)
    epsilon: Epsilon = Radii()
    p: P = Probabilities()
    steps: Count = 1
    norm_over: Literal["tensor", "sample", "joint"] = "tensor"
    update: Literal["replace", "accumulate"] = "replace"
    clean_weight: NonNegative = 1.0
    input_as: InputAs = "matrix"
    mask_scale: Literal["none", "inverse_p"] = "none"
    clamp: tuple[float, float] | None = None

    def slots(self, model: ModelInfo) -> Slots:
        """An input group and a weight group, each attacked by itself (Eq. 5)."""
        inputs, weights = split_targets(self.targets, model, self.input_as)
        shared = self.model_dump(include={"steps", "update", "mask_scale"})
        weight_norm = "tensor" if self.norm_over == "sample" else self.norm_over
        return Slots(
            input=InputAscent(
                targets=inputs,
                epsilon=self.epsilon.input,
                p=self.p.input,
                norm_over=self.norm_over,
                clamp=self.clamp,
                **shared,
            ),
            weight=Ascent(
                targets=weights,
                epsilon=self.epsilon.weight,
                p=self.p.weight,
                norm_over=weight_norm,
                **shared,
            ),
            clean=self.clean_weight,
        )
