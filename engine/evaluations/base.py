"""What an evaluation is to the engine: settings, and a function from a trained network to findings.

An evaluation never trains. It is keyed by (trial, checkpoint, settings), so that a new attack on an old
checkpoint costs that attack alone. Nothing here imports torch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from engine.data.base import DataInfo, Split
from engine.errors import InputError
from engine.models.base import ModelInfo
from engine.settings import Count, Frozen, Whole

if TYPE_CHECKING:
    from torch import nn

    from engine.data.loading import Splits
    from engine.distributed import Workers

Scalar = float | int | str
Table = Sequence[Mapping[str, Scalar]]


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        network: the trained network, in eval mode on its device; an evaluation leaves it as it was.
        data: the trial's splits. workers: who share the work.
        folder: where a long evaluation keeps what it has finished, to go on after an interruption; None
            keeps nothing.
    """

    network: nn.Module
    data: Splits
    workers: Workers
    folder: Path | None = None


@dataclass(frozen=True)
class Findings:
    """What an evaluation found.

    Attributes:
        metrics: numbers by name, as ``measure`` or ``measure@setting`` (``accuracy``, ``accuracy@0.1``).
        tables: longer results by name: rows of plain values (a curve, a landscape, a histogram).
        correct: packed per-example correctness by name (:func:`numpy.packbits`).
        examples: number of examples looked at.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    correct: dict[str, bytes] = field(default_factory=dict)
    examples: int = 0


class EvaluationConfig(Frozen):
    """Settings of an evaluation, all of them part of its key.

    Attributes:
        name: the evaluation (the name of its file).
        label: what its findings are called in reports; the name where empty. No part of the key.
        checkpoint: which of the trial's checkpoints (``best``, ``last``, ...).
        split: which examples. examples: how many of them, the first ones; None takes all.
        seed: of random starts, directions and draws.
    """

    version: ClassVar[int] = 1
    """Version of what it computes; raising it changes its keys."""

    name: str
    label: str = ""
    checkpoint: str = "best"
    split: Split = "test"
    examples: Count | None = None
    seed: Whole = 0

    @abstractmethod
    def run(self, subject: Subject) -> Findings:
        """Evaluate.

        Raises:
            InputError: it does not apply to this network or these data.
        """

    def need_classes(self, model: ModelInfo) -> None:
        """Refuse a model that reconstructs its input.

        Raises:
            InputError: it does.
        """
        if model.task == "reconstruction":
            legal = "an evaluation of models that classify: one that reconstructs has no classes"
            raise InputError("evaluation.name", repr(self.name), legal)

    def check(self, data: DataInfo, model: ModelInfo) -> None:
        """Refuse, before anything is trained, what cannot be evaluated.

        Raises:
            InputError: it does not apply to these data or this model.
        """

    def canonical(self) -> dict[str, Any]:
        """The part of the key: settings that differ from their defaults, the name and the version."""
        form = self.model_dump(mode="json", exclude_defaults=True, exclude={"label"})
        return {**form, "name": self.name, "checkpoint": self.checkpoint, "version": self.version}
