"""What a trial computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["completed", "diverged", "stopped"]


@dataclass(frozen=True)
class Result:
    """What a trial computed.

    Attributes:
        status: ``completed``; ``diverged`` when the training or validation loss became NaN or infinite;
            ``stopped`` when the report asked for it, with a checkpoint to continue from.
        best, last: metrics of the epoch chosen on validation and of the last one, test included.
        also: metrics of the epochs recorded apart: the best for each attack (``best.NAME``) and, where test
            is watched, the best on test (``best.test``).
        best_epoch: the chosen epoch, from 1. history: metrics of every epoch, each with ``epoch``.
        correct: packed per-example correctness of the test split, by checkpoint.
        examples: number of test examples. seconds: by phase. message: what diverged, and when.
        memory: most bytes of device memory that this worker held at once; 0 on a CPU.
    """

    status: Status
    best: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    correct: dict[str, bytes] = field(default_factory=dict)
    examples: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    message: str = ""
    also: dict[str, dict[str, float]] = field(default_factory=dict)
    memory: int = 0
