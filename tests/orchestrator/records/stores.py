"""Stores that misbehave, and rows whose keys are those of real trials."""

from __future__ import annotations

from typing import Any

from engine.config import Trial
from engine.identity import EvaluationKeys, Seeds
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from tests.orchestrator.conftest import build_row
from tests.orchestrator.sweeps import TRIAL


class Crash(BaseException):
    """The process dies here."""


class FaultyStore(Store):
    """A store that raises in place of a change.

    Attributes:
        left: changes until it raises ``error``; None never.
    """

    left: int | None = None
    error: BaseException = Crash()

    def put(self, name: str, content: bytes) -> None:
        self._count()
        super().put(name, content)

    def remove(self, name: str) -> None:
        self._count()
        super().remove(name)

    def _count(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise self.error
            self.left -= 1


def real_row(seed: int = 0, **changes: Any) -> Row:
    """A row whose key, cell, seed and canonical form agree; ``changes`` replace any field."""
    seeds = Seeds(Trial.model_validate(TRIAL))
    about = {"key": seeds.key(seed), "seed": seed, "trial": seeds.settings(seed)}
    return build_row(**{"cell": seeds.cell, **about, "canonical": seeds.canonical(seed), **changes})


def real_evaluation(row: Row, **changes: Any) -> EvaluationRow:
    """An evaluation of a trial, whose key agrees with its canonical form."""
    from engine.evaluations.clean import Config

    keys = EvaluationKeys(Config(name="clean"))
    fields: dict[str, Any] = {
        "key": keys.key(row.key), "trial": row.key, "cell": row.cell, "seed": row.seed, "checkpoint": "best",
        "name": "clean", "label": "clean", "status": "completed", "canonical": keys.canonical(row.key),
        "metrics": {"accuracy": 0.5}, "contract": row.contract, "data_hash": row.data_hash,
        "finished": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return EvaluationRow(**(fields | changes))
