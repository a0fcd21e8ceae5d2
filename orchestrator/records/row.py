"""A row of the ledger: all that is kept of one finished trial."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.failures import FailureClass

Status = Literal["completed", "diverged", "failed", "pruned"]
DONE: tuple[Status, ...] = ("completed", "diverged")
"""Statuses that no other replaces."""

SETTLED: tuple[Status, ...] = (*DONE, "pruned")
"""Statuses that are not run again; a ledger tells of what was pruned by the rule that it is asked with."""


@dataclass(frozen=True)
class Row:
    """One trial's record, as it stands in the ledger.

    Attributes:
        key, cell: key of the trial, and of its cell (the same for every seed).
        seed: the trial's seed.
        status: how it ended.
        trial: settings as resolved (``Trial.model_dump``), to read and to run again.
        canonical: the canonical form that the key is the hash of.
        best, last: metrics (``split.measure``) of the epoch chosen on validation and of the last epoch;
            empty when there was none.
        also: metrics of the epochs recorded apart, as ``best.NAME.split.measure``: the best for each
            attack of the trial, and the best on test (``best.test``) where that is watched.
        best_epoch: the chosen epoch, counted from 1; 0 when there was none.
        history: metrics of every epoch, in order; each has ``epoch``.
        correct: per-example correctness of the test set, packed bits (``numpy.packbits``), by
            checkpoint (``best``, ``last``); example i of the test split is bit i.
        examples: number of test examples, since the bits are padded to whole bytes.
        failure: class of the failure, None where there was none.
        error: the traceback of a failure, or what diverged and when.
        timings: seconds by phase (``data``, ``build``, ``train``, ``evaluate``, ``checkpoint``, ``total``).
        device: what it ran on, in words. workers: ranks that trained it.
        versions: of Python and of the packages that decide results.
        git_commit: commit of the working tree that it ran from, ``+`` appended when that was dirty.
        data_hash: content and preprocessing of its data.
        contract: version of the engine contract.
        host, finished: where it ended, and when (ISO 8601, UTC).
        memory: most bytes that a worker held at once, on its GPU where it has one; 0 where not measured.
        attempts: how often it was started, the last time included.
        rule: digest of the early stopping that it ran under; empty for none. A pruned trial is done only
            for the same rule.
        lineage: of a trial of a population, what it took over from whom and when, and the settings that it
            trained with since; empty for every other trial.
        evaluations: those that a sweep asks for, by their label in that sweep. They are rows of their
            own, put here to be read beside the trial, and no column of its row.
    """

    key: str
    cell: str
    seed: int
    status: Status
    trial: dict[str, Any]
    canonical: dict[str, Any]
    best: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    also: dict[str, float] = field(default_factory=dict)
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    correct: dict[str, bytes] = field(default_factory=dict)
    examples: int = 0
    failure: FailureClass | None = None
    error: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    device: str = ""
    workers: int = 1
    versions: dict[str, str] = field(default_factory=dict)
    git_commit: str = ""
    data_hash: str = ""
    contract: int = 0
    host: str = ""
    finished: str = ""
    memory: int = 0
    attempts: int = 1
    rule: str = ""
    lineage: list[dict[str, Any]] = field(default_factory=list)
    evaluations: Mapping[str, EvaluationRow] = field(default_factory=dict)

    def measured(self, checkpoint: str) -> dict[str, float]:
        """Metrics of the best or else the last epoch, and those of all evaluations as ``label.measure``."""
        found = dict(self.best if checkpoint == "best" else self.last)
        for label, evaluation in self.evaluations.items():
            found |= {f"{label}.{name}": value for name, value in evaluation.metrics.items()}
        return found


def data_settings(canonical: Mapping[str, Any]) -> str:
    """What the user asked of the data, without what the files hold: equal settings must agree in content.

    >>> data_settings({"data": {"name": "imdb", "train_size": 100, "content": "d1", "version": 1}})
    '{"name": "imdb", "train_size": 100}'
    """
    data = canonical.get("data", {})
    settings = {key: value for key, value in data.items() if key not in ("content", "version")}
    return json.dumps(settings, sort_keys=True, default=str)
