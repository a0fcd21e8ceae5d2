"""An evaluation for tests: accuracy and loss as training measures them, and what can go wrong."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Literal

import torch

from engine.data.base import DataInfo
from engine.errors import InputError
from engine.evaluate import evaluate
from engine.evaluations.base import EvaluationConfig, Findings, Subject
from engine.models.base import ModelInfo
from engine.settings import Count, Probability


class Config(EvaluationConfig):
    """Accuracy and loss of a split.

    Attributes:
        steps: changes nothing but the key. at: setting that the accuracy is named after, when > 0.
        act: how it misbehaves, while ``marker`` is absent. classes: the most that the data may have.
    """

    name: Literal["probing"]
    steps: Count = 1
    at: Probability = 0.0
    act: Literal["nothing", "raise", "memory", "kill"] = "nothing"
    marker: str = ""
    classes: Count = 10

    def check(self, data: DataInfo, model: ModelInfo) -> None:
        if data.classes > self.classes:
            raise InputError("evaluation.classes", self.classes, f"at least {data.classes}")

    def run(self, subject: Subject) -> Findings:
        if self.act != "nothing" and not (self.marker and Path(self.marker).exists()):
            self._misbehave()
        assert subject.folder is not None
        (subject.folder / "progress.txt").write_text("half")
        found = evaluate(subject.network, getattr(subject.data, self.split), subject.workers)
        metrics = {"accuracy": found.accuracy, "loss": found.loss, "workers": float(subject.workers.size)}
        if self.at:
            metrics[f"accuracy@{self.at}"] = found.accuracy / 2
        table = [{"class": c, "name": str(c)} for c in range(3)]
        return Findings(metrics, {"classes": table}, {"clean": found.bits()}, len(found.correct_N))

    def _misbehave(self) -> None:
        if self.marker:
            Path(self.marker).touch()
        if self.act == "raise":
            raise RuntimeError("the attack broke\non purpose")
        if self.act == "memory":
            raise torch.OutOfMemoryError("no memory left")
        os.kill(os.getpid(), signal.SIGKILL)
