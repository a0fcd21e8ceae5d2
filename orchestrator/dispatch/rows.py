"""The rows that are written of jobs, by workers and by the driver, which has no need of torch for it."""

from __future__ import annotations

import socket
from typing import Any

from engine.evaluations.base import Findings
from engine.identity import CONTRACT
from engine.result import Result
from orchestrator.planning.job import Job, Surroundings
from orchestrator.planning.population import varied
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.failures import FailureClass
from orchestrator.records.provenance import device_name, now, versions
from orchestrator.records.row import Row


def failed_row(
    job: Job, around: Surroundings, failure: FailureClass | None, error: str, seconds: float = 0.0
) -> Row:
    """The row of a trial that did not finish."""
    return Row(
        status="failed", trial=varied(job.trial, job.settings), lineage=list(job.lineage), failure=failure,
        error=error, timings={"total": seconds},
        attempts=job.attempt, **common(job, around),
    )  # fmt: skip


def pruned_row(job: Job, around: Surroundings, history: list[dict[str, float]], seconds: float) -> Row:
    """The row of a trial that a scheduler ended: its epochs, and no final evaluation."""
    epoch = int(history[-1]["epoch"]) if history else 0
    return Row(
        status="pruned", trial=job.trial, history=history, last=dict(history[-1]) if history else {},
        error=f"pruned after epoch {epoch} by its {around.watched}", timings={"total": seconds},
        attempts=job.attempt, rule=around.rule, **common(job, around),
    )  # fmt: skip


def trained_row(job: Job, result: Result, around: Surroundings, seconds: float) -> Row:
    """The row of a trial that came to its end."""
    assert result.status != "stopped"
    return Row(
        status=result.status,
        trial=varied(job.trial, job.settings),
        lineage=list(job.lineage),
        best=result.best,
        also={f"{name}.{m}": value for name, found in result.also.items() for m, value in found.items()},
        last=result.last,
        best_epoch=result.best_epoch,
        history=result.history,
        correct=result.correct,
        examples=result.examples,
        error=result.message,
        timings={**result.seconds, "total": seconds},
        memory=result.memory,
        attempts=job.attempt,
        **common(job, around),
    )


def common(job: Job, around: Surroundings) -> dict[str, Any]:
    """What a row says whatever came of the job."""
    return {
        "key": job.key,
        "cell": job.cell,
        "seed": job.seed,
        "canonical": job.canonical,
        "data_hash": job.data_hash,
        "contract": CONTRACT,
        "device": device_name(around.gpu),
        "workers": around.workers,
        "versions": versions(),
        "git_commit": around.git_commit,
        "host": socket.gethostname(),
        "finished": now(),
    }


def failed_evaluation(
    job: Job, around: Surroundings, failure: FailureClass | None, error: str, seconds: float = 0.0
) -> EvaluationRow:
    """The row of an evaluation that did not finish."""
    return EvaluationRow(
        status="failed", failure=failure, error=error, seconds=seconds, **_about(job, around)
    )


def evaluated_row(job: Job, findings: Findings, around: Surroundings, seconds: float) -> EvaluationRow:
    """The row of an evaluation that came to its end."""
    return EvaluationRow(
        status="completed",
        metrics={name: float(value) for name, value in findings.metrics.items()},
        tables={name: [dict(row) for row in table] for name, table in findings.tables.items()},
        correct=dict(findings.correct),
        examples=findings.examples,
        seconds=seconds,
        **_about(job, around),
    )


def _about(job: Job, around: Surroundings) -> dict[str, Any]:
    settings = dict(job.evaluation or {})
    del settings["label"]  # of the sweep that ran it
    return {
        **common(job, around),
        "trial": job.parent,
        "checkpoint": job.checkpoint,
        "name": settings["name"],
        "label": job.label,
        "settings": settings,
        "sweep": around.sweep,
        "labels": job.labels,
    }
