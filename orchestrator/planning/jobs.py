"""Cells and seeds as jobs, the parents that they start from included."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
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

    The parents that trials start from come before them. All keep the checkpoints that are needed, by
    trials that start from them or by evaluations.
    """
    labels: dict[str, dict[str, object]] = {}
    for point in points:
        labels.setdefault(point.cell, dict(point.labels))
    jobs: dict[str, Job] = {}
    cells, keep = list(cells), kept(sweep)
    for seed in sweep.seeds:
        for cell in cells:
            job = _job(cell.run(seed), cell.key, labels.get(cell.key, {}), keep)
            _add_with_parents(job, jobs, sweep)
    return list(jobs.values())


def kept(sweep: Sweep) -> Keep:
    """What the sweep's trials keep: what the file says, and what the evaluations look at."""
    keep = sweep.keep
    for one in sweep.asked:
        keep = _both(keep, _keeping(one.checkpoint))
    return keep


def _keeping(checkpoint: str) -> Keep:
    """What keeps a checkpoint; one of several best epochs, all of them."""
    return "last" if checkpoint == "last" else "best" if checkpoint == "best" else "all"


def _job(trial: Trial, cell: str, labels: dict[str, object], keep: Keep) -> Job:
    parent = trial.parent()
    return Job(
        key=trial_key(trial),
        cell=cell,
        seed=trial.seed,
        trial=trial.model_dump(mode="json"),
        canonical=canonical(trial),
        data_hash=data_hash(trial),
        labels=labels,
        keep=keep,
        parent=trial_key(parent) if parent else None,
        checkpoint=trial.init.checkpoint if trial.init else "best",
    )


def _add_with_parents(job: Job, jobs: dict[str, Job], sweep: Sweep) -> None:
    if job.parent is not None:
        parent = Trial.model_validate(job.trial).parent()
        assert parent is not None
        known = jobs.get(job.parent) or _job(parent, cell_key(parent), {"parent": "yes"}, sweep.keep)
        _add_with_parents(replace(known, keep=_both(known.keep, _keeping(job.checkpoint))), jobs, sweep)
    held = jobs.get(job.key)
    jobs[job.key] = job if held is None else replace(held, keep=_both(held.keep, job.keep))


def _both(one: Keep, other: Keep) -> Keep:
    """What is kept when both are asked for."""
    if "none" in (one, other) or one == other:
        return other if one == "none" else one
    return "all" if "all" in (one, other) else "both"


def held(jobs: Sequence[Job], ledger: Ledger, again: Container[str] = ()) -> dict[str, Status]:
    """What the ledger says of jobs, by key.

    A parent whose weights were not kept counts as not run when a trial that is to do needs them; so do
    the trials that shall be trained ``again``.
    """
    index = ledger.index()
    status = {job.key: index[job.key] for job in jobs if job.key in index and job.key not in again}
    for job in reversed(jobs):  # children before their parents
        if job.parent is None or status.get(job.key) in DONE:
            continue
        kept = ledger.store.exists(f"checkpoints/{job.parent}/{job.checkpoint}.pt")
        if status.get(job.parent) == "completed" and not kept:
            del status[job.parent]
    return status
