"""What the evaluations by attack share: a ball around each example, and what is reported of it.

An example counts as right under attack when the network is right at x and at every x + r that the attack
tried. Its loss is the cross-entropy at the worst of these points: the largest one where the network is
wrong, or where it is right when it is wrong nowhere. Robust accuracy is therefore never above the clean one,
and never rises with further restarts.

Images are attacked in their pixels, within the data's range; texts in the embedded tokens h_BTD, which have
no range. There the L2 norm over a text's T x D values is the usual one. Nothing here imports torch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Self

from engine.data.base import DataInfo
from engine.evaluations.base import EvaluationConfig, Findings, Subject
from engine.models.base import ModelInfo
from engine.settings import NonNegative
from engine.slots.attack import PIXELS, Norm, Range

if TYPE_CHECKING:
    from torch import Tensor

    from engine.evaluations.robust import Point

Ascended = Literal["ce", "margin"]
"""What an attack raises: the cross-entropy, or the margin max_{k != y} z_k - z_y of the logits."""


class AttackConfig(EvaluationConfig):
    """Accuracy and loss on adversarial examples.

    Metrics: ``accuracy`` (robust accuracy), ``loss`` (mean cross-entropy of the adversarial examples),
    ``clean_accuracy``. Correctness: ``robust``, ``clean``.

    Attributes:
        norm: of the ball. epsilon: its radius, in the unit of the input (pixels lie in [0, 1]).
    """

    norm: Norm = "linf"
    epsilon: NonNegative = 8 / 255

    @property
    def ascended(self) -> Ascended:
        """What the attack raises."""
        return "ce"

    @property
    def dealt(self) -> int | None:
        """Size of fixed batches, for an attack whose result depends on the batch as a whole."""
        return None

    @abstractmethod
    def tries(self, point: Point) -> Iterator[Tensor]:
        """Perturbations r of a batch, one a restart; not called at radius 0."""

    def at(self, epsilon: float) -> Self:
        """The same attack in another ball, every length in proportion.

        Raises:
            InputError: this attack has no ball to scale.
        """
        return self.model_copy(update={"epsilon": epsilon})

    def check(self, data: DataInfo, model: ModelInfo) -> None:
        """Refuse a model without classes, which no attack can make wrong."""
        self.need_classes(model)

    def run(self, subject: Subject) -> Findings:
        """Attack the split."""
        from engine.evaluations.robust import compared

        examples = getattr(subject.data, self.split)
        info = subject.data.info
        clean, robust = compared(subject.network, examples, subject.workers, self, image_range(info))
        return Findings(
            metrics={
                "accuracy": robust.accuracy,
                "loss": robust.loss,
                "clean_accuracy": clean.accuracy,
            },
            correct={"robust": robust.bits(), "clean": clean.bits()},
            examples=len(robust.correct_N),
        )


def image_range(info: DataInfo) -> Range | None:
    """Range of the pixels; None for a text, and for images without one (whitened)."""
    found: Range | None = getattr(info, "range", PIXELS) if info.kind == "image" else None
    return found
