"""Cells and seeds as jobs, the parents that they start from included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from engine.config import Keep, Trial
from engine.identity import canonical, cell_key, data_hash, trial_key
from orchestrator.planning.cells import Cell, Point
from orchestrator.planning.job import Job
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import DONE, Status
from orchestrator.sweepfile.sweep import Sweep


def jobs_of(cells: Iterable[Cell], sweep: Sweep, points: Sequence[Point]) -> list[Job]:
    """The trials of some cells, seed by seed, so that a grid fills with its first seed before its second.

    The parents that trials start from come before them, and keep the checkpoint that is needed.
    """
    labels: dict[str, dict[str, object]] = {}
    for point in points:
        labels.setdefault(point.cell, dict(point.labels))
    jobs: dict[str, Job] = {}
    cells = list(cells)
    for seed in sweep.seeds:
        for cell in cells:
            job = _job(cell.run(seed), cell.key, labels.get(cell.key, {}), sweep)
            _add_with_parents(job, jobs, sweep)
    return list(jobs.values())


def _job(trial: Trial, cell: str, labels: dict[str, object], sweep: Sweep) -> Job:
    parent = trial.parent()
    return Job(
        key=trial_key(trial),
        cell=cell,
        seed=trial.seed,
        trial=trial.model_dump(mode="json"),
        canonical=canonical(trial),
        data_hash=data_hash(trial),
        labels=labels,
        keep=sweep.keep,
        parent=trial_key(parent) if parent else None,
        checkpoint=trial.init.checkpoint if trial.init else "best",
    )


def _add_with_parents(job: Job, jobs: dict[str, Job], sweep: Sweep) -> None:
    if job.parent is not None:
        parent = Trial.model_validate(job.trial).parent()
        assert parent is not None
        known = jobs.get(job.parent) or _job(parent, cell_key(parent), {"parent": "yes"}, sweep)
        _add_with_parents(replace(known, keep=_both(known.keep, job.checkpoint)), jobs, sweep)
    held = jobs.get(job.key)
    jobs[job.key] = job if held is None else replace(held, keep=_both(held.keep, job.keep))


def _both(one: Keep, other: Keep) -> Keep:
    """What is kept when both are asked for."""
    if "none" in (one, other) or one == other:
        return other if one == "none" else one
    return "both"


def held(jobs: Sequence[Job], ledger: Ledger) -> dict[str, Status]:
    """What the ledger says of jobs, by key.

    A parent whose weights were not kept counts as not run when a trial that is to do needs them.
    """
    index = ledger.index()
    status = {job.key: index[job.key] for job in jobs if job.key in index}
    for job in reversed(jobs):  # children before their parents
        if job.parent is None or status.get(job.key) in DONE:
            continue
        kept = ledger.store.exists(f"checkpoints/{job.parent}/{job.checkpoint}.pt")
        if status.get(job.parent) == "completed" and not kept:
            del status[job.parent]
    return status
