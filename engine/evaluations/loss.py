"""What evaluations of the weights' surroundings share: which loss is measured. Nothing here imports torch."""

from __future__ import annotations

from typing import Any, Literal

from engine.data.base import DataInfo
from engine.errors import InputError
from engine.evaluations.base import EvaluationConfig
from engine.models.base import ModelInfo
from engine.slots.attack import Attack

PGD = Attack(kind="attack", epsilon=8 / 255, steps=10, step_size=2 / 255, mode="eval")
"""PGD-10 from a random start, the attack of AWP's landscapes."""


class LossConfig(EvaluationConfig):
    """Settings of an evaluation that measures a loss at many points.

    Attributes:
        loss: ``clean``, or ``adversarial``: of examples that the attack makes anew at every point.
        attack: how; its passes are in eval mode, whatever its ``mode`` says. Its random start is a
            function of (seed, example), the same at every point.
    """

    loss: Literal["clean", "adversarial"] = "clean"
    attack: Attack = PGD

    @property
    def attacked(self) -> Attack | None:
        """The attack in its simplest form, None where nothing is attacked."""
        if self.loss == "clean":
            return None
        return self.attack.model_copy(update={"mode": "eval"}).collapsed()

    def check(self, data: DataInfo, model: ModelInfo) -> None:
        """Refuse a model without classes, and a pixel range for embedded text."""
        self.need_classes(model)
        self.fit(data)

    def fit(self, data: DataInfo) -> None:
        """Refuse a pixel range for embedded text.

        Raises:
            InputError: the attack has one.
        """
        if data.kind == "text" and self.attacked is not None and self.attacked.clamp is not None:
            raise InputError("attack.clamp", self.attacked.clamp, "null for text: an embedding has no range")

    def canonical(self) -> dict[str, Any]:
        """Without an attack that has no effect; the attack in its simplest form."""
        form = super().canonical()
        for name in ("loss", "attack"):
            form.pop(name, None)
        if self.attacked is not None:
            attack = self.attacked.model_dump(mode="json", exclude_defaults=True)
            form |= {"loss": "adversarial", "attack": attack}
        return form
