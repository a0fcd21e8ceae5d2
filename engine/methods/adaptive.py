"""Adaptive adversarial training: a few examples of each epoch are attacked, drawn by gradient norm."""

from __future__ import annotations

from typing import Literal

from engine.methods.base import Preset, pixels
from engine.models.base import ModelInfo
from engine.settings import Count, Flag, NonNegative, Positive
from engine.slots.attack import PIXELS, Attack, Range
from engine.slots.objective import Objective, Term
from engine.slots.selection import Selection
from engine.slots.slots import Slots


class Config(Preset):
    """At each epoch n examples are drawn with p_i = ||g_i||^power / sum_j ||g_j||^power, g_i = grad_{x_i} L;
    these are replaced by attacked ones, and the epoch minimises the loss of all examples over theta.

    Cost: a forward and an input-backward pass over the training examples for each epoch, and an attack on
    n of them.

    Attributes:
        n: how many examples are attacked (100, 1,000 or 10,000 in the paper).
        power: 1 for the norm, 2 for the squared norm.
        epsilon: radius (0.3 on MNIST and Fashion-MNIST, 0.02 on CIFAR-10).
        steps, step_size: 1 and null make FGSM (the paper's experiments); more make PGD from a random start.
        replacement, perturbations, mode: as of :class:`engine.slots.selection.Selection`.
        clamp: range of attacked pixels (none for text).

    Source: Adaptive Adversarial Training (Kamath, Deshpande, Subrahmanyam 2019), Algorithm 1.
    """

    name: Literal["adaptive"]
    n: Count = 1000
    power: Literal[1, 2] = 1
    epsilon: NonNegative = 0.3
    steps: Count = 1
    step_size: Positive | None = None
    replacement: Flag = False
    perturbations: Literal["frozen", "refreshed"] = "frozen"
    mode: Literal["eval", "train"] = "eval"
    clamp: Range | None = PIXELS

    def slots(self, model: ModelInfo) -> Slots:
        """The loss at the attacked input, which is x where an example is not drawn."""
        attack = Attack(
            kind="attack",
            epsilon=self.epsilon,
            steps=self.steps,
            step_size=self.step_size,
            start="zero" if self.steps == 1 else "uniform",
            clamp=pixels(model, self.clamp),
            mode=self.mode,
            statistics="frozen" if self.mode == "train" else "live",
        )
        perturbations = self.perturbations if model.kind == "image" else "refreshed"
        selection = Selection(
            n=self.n,
            power=self.power,
            replacement=self.replacement,
            mode=self.mode,
            perturbations=perturbations,
        )
        objective = Objective(natural=0.0, terms=(Term(branch="attack", divergence="ce"),))
        return Slots(selection=selection, input=attack, objective=objective)
