"""What a plan will cost: hours of GPUs or CPUs, wall-clock on a cluster, money; each with an interval.

The interval is the 5th to the 95th percentile over draws in which every kind of trial is slower or faster
by the uncertainty of its pace, and every trial by the spread of its kind.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.config import Trial
from orchestrator.planning import preflight
from orchestrator.planning.job import Job
from orchestrator.planning.plan import Plan
from orchestrator.planning.schedule import Cluster, makespan
from orchestrator.planning.timing import (
    Estimate,
    Measured,
    Timings,
    device_kind,
    measured,
    pilots_of,
    spread_of,
)
from orchestrator.planning.workload import Work, work_of
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import SETTLED
from orchestrator.sweepfile.sweep import Sweep

MOST_ROWS = 300
"""Rows of the ledger that are read for their timings, of this sweep and again of all others."""

DRAWS, MOST_DRAWN = 200, 200_000
"""Draws for an interval; fewer where draws times jobs would pass the second number."""


@dataclass(frozen=True)
class Range:
    """An expected number and its 90 % interval."""

    expected: float
    low: float
    high: float

    def scaled(self, by: float) -> Range:
        """In another unit."""
        return Range(by * self.expected, by * self.low, by * self.high)


@dataclass(frozen=True)
class Cost:
    """What is left to do will cost.

    Attributes:
        unit: ``GPU`` or ``CPU``. cells: what one trial of each cell takes, None where nothing is known.
        evaluations: the same by label, of like evaluations.
        hours: of the unit. wall: hours of wall-clock on the cluster; None where it has no room for a trial.
        money: at the budget's price; None without one. hours_most: where seeds are added, with all of them.
        trials, unknown: trials to do, and how many of them nothing is known of.
        unknown_evaluations: evaluations to do of which nothing is known.
        slots: trials at once. cluster: in words.
        at_most: whether some may end early, or share a GPU by their measured memory.
    """

    unit: str
    cells: Mapping[str, Estimate | None]
    evaluations: Mapping[str, Estimate | None]
    hours: Range | None
    wall: Range | None
    money: Range | None
    hours_most: float | None
    trials: int
    unknown: int
    unknown_evaluations: int
    slots: int
    cluster: str
    at_most: bool


@dataclass
class _Jobs:
    """What is to do, as it is estimated: an estimate each, and what groups of them err by together."""

    jobs: list[Job] = field(default_factory=list)
    estimates: dict[str, Estimate] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)

    def add(self, job: Job, estimate: Estimate, group: str) -> None:
        """One more."""
        self.jobs.append(job)
        self.estimates[job.key], self.groups[job.key] = estimate, group


def cost(sweep: Sweep, planned: Plan, ledger: Ledger, cluster: Cluster) -> Cost:
    """Estimate what is to do, from the ledger's timings of like trials, else from pilots.

    Args:
        sweep: with its resources and price. planned: against the ledger. cluster: where it will run.
    """
    costs = Costs(sweep, planned, ledger)
    todo = costs.todo(planned)
    resources = sweep.resources
    slots, device = cluster.slots(resources), costs.devices
    hours, wall = _totals(todo, planned, slots, device)
    rate = costs.rate
    most = None
    if planned.course:
        later = [job for job in planned.course.jobs if planned.status.get(job.key) not in SETTLED]
        known = [found.seconds for job in later if (found := costs.of(job)) is not None]
        most = sum(known) * device / 3600
    return Cost(
        unit="GPU" if resources.gpus else "CPU",
        cells=costs.cells(planned),
        evaluations={one.label: costs.of_label(planned, one.label) for one in sweep.asked},
        hours=hours,
        wall=wall,
        money=hours.scaled(rate) if hours and rate else None,
        hours_most=most,
        trials=planned.counts()["todo"],
        unknown=planned.counts()["todo"] - sum(job.evaluation is None for job in todo.jobs),
        unknown_evaluations=len(planned.evaluated.todo)
        - sum(job.evaluation is not None for job in todo.jobs),
        slots=slots,
        cluster=cluster.text,
        at_most=resources.gpus == "auto" or any(one.at_most for one in todo.estimates.values()),
    )


class Costs:
    """Estimates of a sweep's jobs.

    Args:
        sweep, planned: what is to do. ledger: whose timings are used.

    Attributes:
        devices: GPUs or CPUs that a trial takes, over all its workers. rate: price of an hour of one.
    """

    def __init__(self, sweep: Sweep, planned: Plan, ledger: Ledger) -> None:
        self.sweep = sweep
        want, price = sweep.resources, sweep.budget.price
        each = want.most_gpus or want.cpus
        self.gpu = want.most_gpus > 0
        self.devices = want.workers * each
        self.rate = 0.0
        if price is not None:  # an hour of CPUs may be the price of trials that have GPUs too
            self.rate = price.gpu_hour or (price.cpu_hour or 0.0) * want.cpus / each
        self.works: dict[str, Work] = {}
        self.found: dict[str, Estimate | None] = {}
        self.timings = self._timings(planned, ledger)
        self.looks = _evaluations(planned, ledger, self.gpu, want.workers)

    def of(self, job: Job) -> Estimate | None:
        """What a job takes; None where nothing is known."""
        if job.evaluation is not None:
            return self.looks.get((job.cell, _look(job))) or self.looks.get(("", _look(job)))
        if job.cell not in self.found:
            self.found[job.cell] = self.timings.estimate(job.cell, self.work(job))
        return self.found[job.cell]

    def work(self, job: Job) -> Work:
        """The work of a trial; the same for every seed of a cell."""
        if job.cell not in self.works:
            self.works[job.cell] = work_of(Trial.model_validate(job.trial))
        return self.works[job.cell]

    def money(self, seconds: float) -> float:
        """Price of the seconds of one job."""
        return seconds / 3600 * self.devices * self.rate

    def cells(self, planned: Plan) -> dict[str, Estimate | None]:
        """By cell, of the sweep's own and of those that trials start from."""
        first: dict[str, Job] = {}
        for job in planned.jobs:
            first.setdefault(job.cell, job)
        return {cell: self.of(job) for cell, job in first.items()}

    def of_label(self, planned: Plan, label: str) -> Estimate | None:
        """What an evaluation takes, of the first cell of which that is known."""
        jobs = [job for job in planned.evaluated.jobs if job.label == label]
        return next((found for job in jobs if (found := self.of(job)) is not None), None)

    def todo(self, planned: Plan) -> _Jobs:
        """The jobs that are left and of which something is known."""
        found = _Jobs()
        for job in (*planned.todo, *self.searched(planned), *planned.evaluated.todo):
            estimate = self.of(job)
            if estimate is not None:
                group = _look(job) if job.evaluation is not None else self._group(job, estimate)
                found.add(job, estimate, group)
        return found

    def _group(self, job: Job, estimate: Estimate) -> str:
        return job.cell if estimate.source == "same cell" else self.work(job).kind

    def searched(self, planned: Plan) -> Iterator[Job]:
        """Trials that a search has not asked for yet: in turn those at the ends of its space."""
        if planned.asked is None:
            return
        ends = preflight.cells_of(self.sweep, planned.grid)
        for i in range(planned.asked - len(planned.jobs)):
            cell = ends[i % len(ends)]
            yield Job(f"asked {i}", cell.key, 0, cell.trial.model_dump(mode="json"))

    def _timings(self, planned: Plan, ledger: Ledger) -> Timings:
        """From this sweep's rows; from a sample of all others where these tell too little."""
        index = ledger.index(self.sweep.rule)
        jobs = planned.course.jobs if planned.course else planned.jobs
        mine = [job.key for job in jobs if job.key in index]
        pilots, workers = pilots_of(ledger.store), self.sweep.resources.workers
        rows = _read(ledger, _spread(mine), index)
        timings = Timings(rows, [], self.gpu, workers)
        wanted = [*planned.todo, *self.searched(planned)]
        if not all(timings.known(self.work(job)) for job in wanted):
            others = sorted(index.keys() - set(mine))
            rows += _read(ledger, _spread(others), index)
        return Timings(rows, pilots, self.gpu, workers)


def _read(ledger: Ledger, keys: Sequence[str], index: Mapping[str, Any]) -> list[Measured]:
    return [found for row in ledger.read(keys, index, rule=None) if (found := measured(row)) is not None]


def _spread(keys: Sequence[str]) -> list[str]:
    """At most :data:`MOST_ROWS` of some keys, evenly taken."""
    step = max(1, math.ceil(len(keys) / MOST_ROWS))
    return list(keys[::step])


def _look(job: Job) -> str:
    return json.dumps(job.canonical.get("evaluation"), sort_keys=True)


def _evaluations(planned: Plan, ledger: Ledger, gpu: bool, workers: int) -> dict[tuple[str, str], Estimate]:
    """What evaluations of the same settings took, by cell, and under ``""`` on the same data."""
    if not planned.evaluated.jobs:
        return {}
    jobs = planned.evaluated.jobs
    index = ledger.evaluations.index()
    mine = [job.key for job in jobs if job.key in index]
    others = sorted(index.keys() - set(mine))
    data = {job.data_hash for job in jobs}
    rows = ledger.evaluations.read([*_spread(mine), *_spread(others)], index)
    groups: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        fits = (device_kind(row.device) != "cpu") is gpu and row.workers == workers and row.data_hash in data
        if fits and row.status == "completed" and row.seconds > 0:
            look = json.dumps(_asked(row), sort_keys=True)
            for cell in (row.cell, ""):
                groups.setdefault((cell, look), []).append(math.log(row.seconds))
    return {place: _of_logs(logs) for place, logs in groups.items()}


def _asked(row: EvaluationRow) -> Any:
    return row.canonical.get("evaluation")


def _of_logs(logs: Sequence[float]) -> Estimate:
    middle = sorted(logs)[len(logs) // 2]
    return Estimate(math.exp(middle), spread_of([x - middle for x in logs]), len(logs), "like evaluations")


def _totals(todo: _Jobs, planned: Plan, slots: int, devices: float) -> tuple[Range | None, Range | None]:
    """Hours of all devices, and of wall-clock."""
    if not todo.jobs:
        nothing = Range(0.0, 0.0, 0.0)
        return (nothing, nothing) if not planned.todo else (None, None)
    done = [key for key, status in planned.status.items() if status == "completed"]
    known = {job.key for job in todo.jobs} | set(done)
    jobs = [job if job.parent in known else _orphan(job) for job in todo.jobs]
    sums, walls = [], []
    for seconds in _draws(todo):
        sums.append(sum(seconds.values()) * devices / 3600)
        if slots:
            walls.append(makespan(jobs, done, seconds, slots) / 3600)
    return _range(sums), _range(walls) if walls else None


def _orphan(job: Job) -> Job:
    """A job whose parent is not estimated, as one that waits for none."""
    return replace(job, parent=None)


def _draws(todo: _Jobs) -> Iterator[dict[str, float]]:
    """Seconds of each job: first as expected, then drawn."""
    import numpy as np

    keys = [job.key for job in todo.jobs]
    found = [todo.estimates[key] for key in keys]
    seconds = np.array([one.seconds for one in found])
    yield dict(zip(keys, seconds.tolist(), strict=True))
    names = {name: i for i, name in enumerate(dict.fromkeys(todo.groups[key] for key in keys))}
    group = np.array([names[todo.groups[key]] for key in keys])
    spread = np.array([one.spread for one in found])
    rows = np.array([max(1, one.rows) for one in found])
    generator = np.random.default_rng(0)
    for _ in range(max(20, min(DRAWS, MOST_DRAWN // len(keys)))):
        shared = generator.standard_normal(len(names))[group] * spread / np.sqrt(rows)
        own = generator.standard_normal(len(keys)) * spread
        factors = np.exp(shared + own - spread**2 * (1 + 1 / rows) / 2)  # of mean one
        yield dict(zip(keys, (seconds * factors).tolist(), strict=True))


def _range(numbers: Sequence[float]) -> Range:
    """The first is as expected, the others are drawn."""
    drawn = sorted(numbers[1:])
    low, high = (drawn[round(q * (len(drawn) - 1))] for q in (0.05, 0.95))
    return Range(numbers[0], min(low, numbers[0]), max(high, numbers[0]))


def sources(found: Iterable[Estimate | None]) -> Counter[str]:
    """How many estimates rest on what."""
    return Counter(one.source if one is not None else "unknown" for one in found)


def as_json(cost: Cost) -> dict[str, Any]:
    """Plain values: seconds of a trial by cell, the totals in hours."""

    def of(one: Estimate | None) -> dict[str, Any] | None:
        if one is None:
            return None
        low, high = one.interval
        return {"seconds": one.seconds, "low": low, "high": high, "rows": one.rows, "source": one.source,
                "at_most": one.at_most}  # fmt: skip

    def span(one: Range | None) -> dict[str, float] | None:
        return None if one is None else {"expected": one.expected, "low": one.low, "high": one.high}

    return {
        "unit": f"{cost.unit}-hours",
        "hours": span(cost.hours),
        "wall_hours": span(cost.wall),
        "money": span(cost.money),
        "hours_most": cost.hours_most,
        "unknown_trials": cost.unknown,
        "unknown_evaluations": cost.unknown_evaluations,
        "at_once": cost.slots,
        "cluster": cost.cluster,
        "cells": {cell: of(one) for cell, one in cost.cells.items()},
        "evaluations": {label: of(one) for label, one in cost.evaluations.items()},
    }
