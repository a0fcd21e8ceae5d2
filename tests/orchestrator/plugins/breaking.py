"""LeNet-5 that misbehaves on request: how a trial can go wrong, by its setting ``act``."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.distributed as dist

from engine.data.base import DataInfo
from engine.models.base import ModelConfig
from engine.models.lenet5 import ALIASES, LeNet5
from orchestrator.dispatch import worker


class Breaking(LeNet5):
    """Acts in its ``at``-th forward pass; ``kill once`` in one rank, and only while ``marker`` is absent.

    ``kill once, checkpoint always`` lets the worker write a checkpoint after each step.
    """

    def __init__(self, act: str, at: int, marker: str, rank: int, classes: int):
        super().__init__(1, classes, kernel=3, padding=(1, 1), features=64)
        self.act, self.at, self.marker, self.rank, self.calls = act, at, marker, rank, 0

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.act.endswith("checkpoint always"):
            worker.CHECKPOINT_SECONDS = 0.0  # of this process, which ends with its sweep
        if self.calls == self.at:
            self.misbehave()
        if self.act == "slow":
            time.sleep(0.05)
        logits = super().forward(x_BCHW)
        return logits * float("nan") if self.act == "nan" and self.calls >= self.at else logits

    def misbehave(self) -> None:
        if self.act == "raise":
            raise RuntimeError("the model broke\non purpose")
        if self.act == "memory":
            raise torch.OutOfMemoryError("no memory left")
        if self.act == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        mine = not dist.is_initialized() or dist.get_rank() == self.rank
        if self.act.startswith("kill once") and mine and not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Config(ModelConfig):
    """The settings."""

    aliases: ClassVar[dict[str, str]] = ALIASES
    shape: ClassVar[tuple[int, int, int] | None] = (1, 8, 8)

    name: Literal["breaking"]
    act: str = "nothing"
    at: int = 3
    marker: str = ""
    rank: int = 0

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> Breaking:
        return Breaking(self.act, self.at, self.marker, self.rank, data.classes)
