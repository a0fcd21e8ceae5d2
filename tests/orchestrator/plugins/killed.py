"""LeNet-5 of a gang that checkpoints wherever its workers listen; one rank can be killed, once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.distributed as dist

from engine.config import Trial
from engine.data.base import DataInfo
from engine.models.base import ModelConfig
from engine.models.lenet5 import ALIASES, LeNet5
from engine.report import Event, Report, Signal
from engine.result import Result
from engine.train import train


class Killed(LeNet5):
    """Killed -9 in its ``at``-th step, in the rank that ``folder/kill`` names, which is then removed.

    ``folder/steps`` has a line for each step of each rank: ``rank number``, counted from the rank's start.
    """

    def __init__(self, at: int, folder: Path, classes: int):
        super().__init__(1, classes, kernel=3, padding=(1, 1), features=64)
        self.at, self.folder, self.steps = at, folder, 0

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        if self.training and torch.is_grad_enabled():
            self.steps += 1
            with (self.folder / "steps").open("ab", buffering=0) as stream:
                stream.write(f"{dist.get_rank()} {self.steps}\n".encode())
            if self.steps == self.at:
                self.die()
        return super().forward(x_BCHW)

    def die(self) -> None:
        named = self.folder / "kill"
        if named.exists() and named.read_text() == str(dist.get_rank()):
            named.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def train_and_save(trial: Trial, report: Report, folder: Path | None = None, **others: Any) -> Result:
    def saving(event: Event) -> Signal:
        said = report(event)
        return "checkpoint" if said == "continue" else said

    return train(trial, saving, folder, **others)


class Config(ModelConfig):
    """The settings."""

    aliases: ClassVar[dict[str, str]] = ALIASES
    shape: ClassVar[tuple[int, int, int] | None] = (1, 8, 8)
    training: ClassVar[Any] = staticmethod(train_and_save)

    name: Literal["killed"]
    at: int
    folder: str

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> Killed:
        return Killed(self.at, Path(self.folder), data.classes)
