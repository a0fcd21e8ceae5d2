"""What a sweep would train: its cells and seeds against what the ledger holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.planning import evaluations, preflight
from orchestrator.planning.cells import Grid
from orchestrator.planning.evaluations import Evaluated
from orchestrator.planning.expand import expand
from orchestrator.planning.job import Job
from orchestrator.planning.jobs import held, jobs_of
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import DONE, Status
from orchestrator.sweepfile.sweep import Sweep


@dataclass(frozen=True)
class Plan:
    """The work of a sweep.

    Attributes:
        grid: points and cells; empty for a search, whose cells are not known beforehand.
        jobs: every trial, done or not, parents first where a trial starts from another.
        status: of the keys that the ledger holds.
        asked: trials that the budget of a search allows; None for a sweep over axes.
        evaluated: the evaluations of the cells' trials, and what the ledger holds of them.
    """

    grid: Grid
    jobs: tuple[Job, ...]
    status: Mapping[str, Status]
    asked: int | None = None
    evaluated: Evaluated = field(default_factory=Evaluated)

    @property
    def todo(self) -> list[Job]:
        """Trials that are not done: those never run, and those that failed."""
        return [job for job in self.jobs if self.status.get(job.key) not in DONE]

    def counts(self) -> dict[str, int]:
        """Numbers of cells, trials, and of trials by what the ledger says of them."""
        states = Counter(self.status.get(job.key, "todo") for job in self.jobs)
        done = sum(states[s] for s in DONE)
        trials = len(self.jobs) if self.asked is None else max(self.asked, len(self.jobs))
        return {
            "points": len(self.grid.points),
            "cells": len(self.grid.cells),
            "trials": trials,
            "done": done,
            "diverged": states["diverged"],
            "failed": states["failed"],
            "todo": trials - done,
        }


def plan(sweep: Sweep, ledger: Ledger, retrain: bool = False) -> Plan:
    """Expand a sweep and look its keys up; no file of the ledger is read.

    Args:
        sweep: what is asked for. ledger: of the store.
        retrain: count trials as not run whose weights an evaluation needs and that kept none.

    Raises:
        SweepError: a point of the sweep is not legal, or an evaluation does not apply to it.
    """
    if sweep.search:
        from orchestrator.planning.asked import recorded

        points, cells = recorded(sweep, ledger.store)
        grid = Grid(tuple(points), {cell.key: cell for cell in cells})
    else:
        grid = expand(sweep)
    if sweep.asked:
        evaluations.check(sweep, preflight.cells_of(sweep, grid))
    jobs = jobs_of(grid.cells.values(), sweep, grid.points)
    asked = evaluations.evaluations_of(grid.cells.values(), sweep, grid.points)
    status = held(jobs, ledger)
    if retrain:
        again = evaluations.without_weights(asked, status, ledger)
        status = held(jobs, ledger, again)
    evaluated = evaluations.evaluated(asked, status, ledger)
    return Plan(grid, tuple(jobs), status, sweep.budget.trials if sweep.search else None, evaluated)
