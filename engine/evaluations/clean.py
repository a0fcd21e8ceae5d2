"""Accuracy, loss and macro F1 on the examples as they are."""

from __future__ import annotations

from typing import Literal

from engine.data.base import DataInfo
from engine.evaluations.base import EvaluationConfig, Findings, Subject
from engine.models.base import ModelInfo


class Config(EvaluationConfig):
    """No attack. Metrics: ``accuracy``, ``loss``, ``macro_f1``. Correctness: ``clean``.

    Macro F1 is the mean over the classes of 2 TP / (2 TP + FP + FN), leaving out classes that are neither
    among the labels nor among the predictions (scikit-learn's ``f1_score(average="macro")``).
    """

    name: Literal["clean"]

    def check(self, data: DataInfo, model: ModelInfo) -> None:
        """Refuse a model without classes."""
        self.need_classes(model)

    def run(self, subject: Subject) -> Findings:
        """One pass over the split."""
        from engine.evaluations.confusion import classified, macro_f1

        examples = getattr(subject.data, self.split)
        found, counts_CC = classified(subject, examples, self.examples)
        metrics = {"accuracy": found.accuracy, "loss": found.loss, "macro_f1": macro_f1(counts_CC)}
        return Findings(metrics, correct={"clean": found.bits()}, examples=len(found.correct_N))
