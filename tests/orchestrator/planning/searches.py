"""Searches made up for tests: a space, and trials whose value is a smooth function of their settings."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.planning.job import Job, Outcome
from orchestrator.planning.search import Search
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.sweepfile.sweep import Sweep
from tests.orchestrator.sweeps import sweep_of

SPACE: dict[str, Any] = {
    "method.p": {"uniform": [0.1, 1]},
    "method.epsilon": {"log_uniform": [0.01, 10]},
    "method.steps": {"int": [1, 3]},
}
NUMBERS = {name: SPACE[name] for name in ("method.p", "method.epsilon")}
BOTH = [{"name": "val.accuracy"}, {"name": "val.loss"}]

Score = Callable[[Mapping[str, Any]], dict[str, float]]


def searching(trials: int = 6, **changes: Any) -> Sweep:
    """A search over three settings of DropAttack; ``changes`` replace any block."""
    return sweep_of(**({"axes": {}, "reports": [], "search": SPACE, "budget": {"trials": trials}} | changes))


def score(labels: Mapping[str, Any]) -> dict[str, float]:
    """Accuracy is best at epsilon 3, loss at p 0.5; a compromise lies between."""
    accuracy = 1 / (1 + abs(labels.get("method.epsilon", 0) - 3))
    return {"val.accuracy": accuracy, "val.loss": abs(labels.get("method.p", 0) - 0.5) + accuracy / 10}


def finish(search: Search, job: Job, ledger: Ledger | None = None, metrics: Any = None) -> None:
    """A job ends completed, first in the ledger, then in the driver."""
    metrics = metrics or score(job.labels)
    if ledger is not None:
        ledger.write(row_of(job, metrics))
    search.done(job, Outcome(job.key, "completed", best=metrics, last=metrics))


def prune(search: Search, job: Job, ledger: Ledger, reached: float = 0.25) -> None:
    """The sweep's scheduler ends a job after its first epoch, first in the ledger, then in the driver."""
    ledger.write(pruned_row_of(job, search.sweep.rule, last := {"epoch": 1.0, "val.accuracy": reached}))
    search.done(job, Outcome(job.key, "pruned", last=last))


def pruned_row_of(job: Job, rule: str, last: dict[str, float]) -> Row:
    """The row that a pruned job leaves."""
    return Row(job.key, job.cell, job.seed, "pruned", job.trial, job.canonical, last=last, rule=rule)


def row_of(job: Job, metrics: dict[str, float]) -> Row:
    """The row that a completed job leaves."""
    return Row(job.key, job.cell, job.seed, "completed", job.trial, job.canonical, best=metrics, last=metrics)


def storm(search: Search, ledger: Ledger, flight: int, at_most: int = 10_000, seed: int = 0) -> list[Job]:
    """Ask until ``flight`` trials run, then let one of them end, at random; stop after ``at_most`` asks.

    What is in flight then is lost, as when the driver is killed.
    """
    draws, running, asked = random.Random(seed), [], []
    while not (search.exhausted and not running):
        while len(running) < flight and len(asked) < at_most and (job := search.next()) is not None:
            running.append(job)
            asked.append(job)
        if len(asked) >= at_most:
            break
        finish(search, running.pop(draws.randrange(len(running))), ledger)
    return asked
