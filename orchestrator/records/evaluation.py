"""A row of the ledger: all that is kept of one evaluation of one trial's checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.records.failures import FailureClass

EvaluationStatus = Literal["completed", "failed"]


@dataclass(frozen=True)
class EvaluationRow:
    """One evaluation's record.

    Attributes:
        key: of the evaluation: (trial, checkpoint, settings). trial: key of the trial.
        cell, seed: of the trial. checkpoint: which of its checkpoints was evaluated.
        name: of the evaluation. label: what the sweep that ran it called it; another may call it otherwise.
        status: how it ended. settings: all of them, as resolved. canonical: the form that the key hashes.
        sweep, labels: the sweep that ran it, and its point's labels, for people to read.
        metrics: numbers by ``measure`` or ``measure@setting``.
        tables: longer results by name, each a list of rows of plain values.
        correct: packed per-example correctness by name (``numpy.packbits``).
        examples: number of examples looked at.
        failure: class of a failure, as of a trial's. error: its traceback.
        seconds: that it took. device, workers, versions, git_commit, data_hash, contract, host, finished:
            as of a trial's row.
    """

    key: str
    trial: str
    cell: str
    seed: int
    checkpoint: str
    name: str
    label: str
    status: EvaluationStatus
    settings: dict[str, Any] = field(default_factory=dict)
    canonical: dict[str, Any] = field(default_factory=dict)
    sweep: str = ""
    labels: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tables: dict[str, list[dict[str, float | int | str]]] = field(default_factory=dict)
    correct: dict[str, bytes] = field(default_factory=dict)
    examples: int = 0
    failure: FailureClass | None = None
    error: str = ""
    seconds: float = 0.0
    device: str = ""
    workers: int = 1
    versions: dict[str, str] = field(default_factory=dict)
    git_commit: str = ""
    data_hash: str = ""
    contract: int = 0
    host: str = ""
    finished: str = ""
