"""What a sweep would train: its cells and seeds against what the ledger holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.planning import evaluations, preflight
from orchestrator.planning.cells import Grid
from orchestrator.planning.evaluations import Evaluated
from orchestrator.planning.expand import expand
from orchestrator.planning.garbage import unsearched
from orchestrator.planning.job import Job
from orchestrator.planning.jobs import held, jobs_of
from orchestrator.planning.published import cells_of_published
from orchestrator.planning.sequential import Course, asked, course
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import SETTLED, Row, Status
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
        rule: digest of the sweep's scheduler, by which rows are read; empty without one.
        course: of a sweep that adds seeds, how far it has come; the jobs are those that it asks for so far.
    """

    grid: Grid
    jobs: tuple[Job, ...]
    status: Mapping[str, Status]
    asked: int | None = None
    evaluated: Evaluated = field(default_factory=Evaluated)
    rule: str = ""
    course: Course | None = None

    @property
    def most(self) -> int:
        """Trials that there may be at most."""
        return len(self.course.jobs) if self.course else self.counts()["trials"]

    @property
    def todo(self) -> list[Job]:
        """Trials that are not done: those never run, and those that failed."""
        return [job for job in self.jobs if self.status.get(job.key) not in SETTLED]

    def counts(self) -> dict[str, int]:
        """Numbers of cells, trials, and of trials by what the ledger says of them."""
        states = Counter(self.status.get(job.key, "todo") for job in self.jobs)
        done = sum(states[s] for s in SETTLED)
        trials = len(self.jobs) if self.asked is None else max(self.asked, len(self.jobs))
        return {
            "points": len(self.grid.points),
            "cells": len(self.grid.cells),
            "trials": trials,
            "done": done,
            "diverged": states["diverged"],
            "pruned": states["pruned"],
            "failed": states["failed"],
            "todo": trials - done,
        }


def plan_with_rows(sweep: Sweep, ledger: Ledger, retrain: bool = False) -> tuple[Plan, list[Row]]:
    """A plan and the rows that it counts, with their evaluations; nothing counts that does not read.

    What is damaged is set aside first. Arguments and errors are those of :func:`plan`.
    """
    while True:
        before = len(ledger.damaged) + len(ledger.evaluations.damaged)
        planned = plan(sweep, ledger, retrain)
        held_keys = [job.key for job in planned.jobs if job.key in planned.status]
        rows = ledger.read(held_keys, planned.status, rule=planned.rule)
        rows = evaluations.attach(rows, planned.evaluated.jobs, ledger)
        if len(ledger.damaged) + len(ledger.evaluations.damaged) == before:
            return planned, rows


@unsearched()  # the collector would go again and again through all that a large plan keeps
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
    cells_of_published(sweep, grid.points)
    jobs = jobs_of(grid.cells.values(), sweep, grid.points)
    looks = evaluations.evaluations_of(grid.cells.values(), sweep, grid.points)
    found: Course | None = None
    if sweep.sequential:
        found = course(sweep, grid.points, jobs, looks, ledger)
        wanted = found.wanted
        jobs = asked(jobs, wanted)
        looks = [job for job in looks if job.seed in wanted[job.cell]]
    status = held(jobs, ledger, rule=sweep.rule)
    if retrain:
        again = evaluations.without_weights(looks, status, ledger)
        status = held(jobs, ledger, again, sweep.rule)
    evaluated = evaluations.evaluated(looks, status, ledger)
    budget = sweep.budget.trials if sweep.search else None
    return Plan(grid, tuple(jobs), status, budget, evaluated, sweep.rule, found)
