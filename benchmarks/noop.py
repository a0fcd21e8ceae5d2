"""A model whose trials do nothing but report one epoch: what is left is orchestration."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from engine.config import Trial
from engine.data.base import DataInfo
from engine.models.base import ModelConfig
from engine.report import Event, Report
from engine.result import Result


def nothing(trial: Trial, report: Report, *places: Any, **settings: Any) -> Result:
    """One epoch with made-up numbers."""
    metrics = {"train.loss": 1.0, "val.loss": 1.0, "val.accuracy": 0.5}
    report(Event(1, 0, metrics))
    found = {"epoch": 1.0, **metrics}
    return Result("completed", found, found, 1, [found])


class Config(ModelConfig):
    """The settings: none."""

    shape: ClassVar[Any] = (1, 8, 8)
    training: ClassVar[Any] = staticmethod(nothing)

    name: Literal["noop"]

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> Any:
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.Linear(64, data.classes))
