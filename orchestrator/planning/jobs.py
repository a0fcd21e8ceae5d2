"""Cells and seeds as jobs, the parents that they start from included."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from engine.config import Keep
from engine.identity import Seeds
from orchestrator.planning.cells import Cell, Point
from orchestrator.planning.job import Job
from orchestrator.planning.population import beginning
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import SETTLED, Status
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
            _add_with_parents(_job(cell.seeds, seed, labels.get(cell.key, {}), keep), cell.seeds, jobs, sweep)
    if sweep.population:
        return [replace(job, settings=beginning(sweep, job)) for job in jobs.values()]
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


def _job(seeds: Seeds, seed: int, labels: dict[str, object], keep: Keep) -> Job:
    init = seeds.trial.init
    return Job(
        key=seeds.key(seed),
        cell=seeds.cell,
        seed=seed,
        trial=seeds.settings(seed),
        canonical=seeds.canonical(seed),
        data_hash=seeds.data_hash,
        labels=labels,
        keep=keep,
        parent=seeds.parent.key(seed) if seeds.parent else None,
        checkpoint=init.checkpoint if init else "best",
        population=seeds.population,
    )


def _add_with_parents(job: Job, seeds: Seeds, jobs: dict[str, Job], sweep: Sweep) -> None:
    if job.parent is not None and seeds.parent is not None:
        known = jobs.get(job.parent) or _job(seeds.parent, job.seed, {"parent": "yes"}, sweep.keep)
        keeping = replace(known, keep=_both(known.keep, _keeping(job.checkpoint)))
        _add_with_parents(keeping, seeds.parent, jobs, sweep)
    held = jobs.get(job.key)
    jobs[job.key] = job if held is None else replace(held, keep=_both(held.keep, job.keep))


def _both(one: Keep, other: Keep) -> Keep:
    """What is kept when both are asked for."""
    if "none" in (one, other) or one == other:
        return other if one == "none" else one
    return "all" if "all" in (one, other) else "both"


def held(
    jobs: Sequence[Job], ledger: Ledger, again: Container[str] = (), rule: str = ""
) -> dict[str, Status]:
    """What the ledger says of jobs, by key.

    A parent whose weights were not kept counts as not run when a trial that is to do needs them; so do
    the trials that shall be trained ``again``, and those that were pruned under another ``rule``.
    """
    index = ledger.index(rule)
    status = {job.key: index[job.key] for job in jobs if job.key in index and job.key not in again}
    there: dict[str, bool] = {}
    for job in reversed(jobs):  # children before their parents
        if job.parent is None or status.get(job.key) in SETTLED or status.get(job.parent) != "completed":
            continue
        weights = f"checkpoints/{job.parent}/{job.checkpoint}.pt"
        if weights not in there:
            there[weights] = ledger.store.exists(weights)
        if not there[weights]:
            del status[job.parent]
    return status
