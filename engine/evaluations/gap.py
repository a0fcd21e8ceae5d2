"""The robust generalisation gap."""

from __future__ import annotations

from typing import Literal

from engine.errors import InputError
from engine.evaluations.base import Findings, Subject
from engine.evaluations.nested import AroundAttack


class Config(AroundAttack):
    """Robust accuracy on the training examples minus that on ``split``, under the same attack.

    Metrics: ``gap``, ``train_accuracy``, ``accuracy``; ``clean_gap``, the same without the attack. The
    training examples are those that the trial was trained on, as they are stored (not augmented);
    ``examples`` limits both sides.

    Source: AWP, section 1 and Fig. 1 ("robust generalization gap").
    """

    name: Literal["gap"]

    def run(self, subject: Subject) -> Findings:
        """Both splits."""
        if self.split == "train":
            raise InputError("evaluation.split", "'train'", "val or test, which train is compared with")
        train, held = (self.inner(split).run(subject) for split in ("train", self.split))
        return Findings(
            metrics={
                "gap": train.metrics["accuracy"] - held.metrics["accuracy"],
                "train_accuracy": train.metrics["accuracy"],
                "accuracy": held.metrics["accuracy"],
                "clean_gap": train.metrics["clean_accuracy"] - held.metrics["clean_accuracy"],
            },
            correct={"train": train.correct["robust"], "robust": held.correct["robust"]},
            examples=held.examples,
        )
