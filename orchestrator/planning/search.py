"""Optuna behind ask and tell: proposes cells, never one that is known, and is told their mean."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from orchestrator.planning.asked import Asked, satisfied
from orchestrator.planning.cells import Cell, Point
from orchestrator.planning.evaluations import Evaluated, attach, evaluated, evaluations_of
from orchestrator.planning.expand import expand_one
from orchestrator.planning.feed import Queue
from orchestrator.planning.job import Job, Outcome
from orchestrator.planning.jobs import held, jobs_of
from orchestrator.planning.results import Result, known, reached, value
from orchestrator.planning.space import Settings, name_of, untried
from orchestrator.planning.study import Study
from orchestrator.records.ledger import Ledger
from orchestrator.records.metrics import label_of
from orchestrator.records.row import SETTLED, Row, Status
from orchestrator.sweepfile.samplers import MEMORY, Gp, Qmc
from orchestrator.sweepfile.sweep import Sweep

TRIES = 200
"""Proposals in a row that may be known cells before other points are looked for."""

FEW = 10
"""The same once that has happened, where each proposal is written to a disk or a database, and where it
takes as long as a Gaussian process."""


@dataclass
class _Open:
    """A cell under way: the number of its Optuna trial, and what is known by seed and objective."""

    number: int
    values: dict[tuple[int, str], float] = field(default_factory=dict)
    reached: list[tuple[int, float]] = field(default_factory=list)


class Search:
    """A feed whose cells come from an Optuna sampler, seeded by the sweep's first seed.

    A cell is one Optuna trial; it is told the mean of each objective over the cell's seeds, or a failure when
    a value is missing or not finite. What the ledger already holds of the space is told first, then come the
    points to try first. A proposal that is a known cell is told and asked again; when the sampler finds no
    new one, points that it did not propose are taken, as long as there are any. Where an objective is an
    evaluation's, a seed has its value when that evaluation is done.

    A store or a study that is away loses no cell: a proposal is kept until it is written down, a value until
    it is told. What the study lacks at the end the next run of the sweep tells it, from the ledger.

    Args:
        sweep: with a search space and a budget of trials. ledger: of the store.
    """

    def __init__(self, sweep: Sweep, ledger: Ledger) -> None:
        self.sweep, self.ledger = sweep, ledger
        self.labels = {label_of(metric.name) for metric in sweep.goals}
        self.asked = Asked(sweep, ledger.store)
        points, cells = list(self.asked.points), self.asked.cells
        done = (key for key, status in ledger.index().items() if status == "completed")
        self.queue = Queue([], done)
        self.open: dict[str, _Open] = {}
        self.used_up = False
        self.proposed: tuple[int, Point, Cell] | None = None
        self.untold: deque[tuple[int, Result | None, str]] = deque()
        assert sweep.budget.trials is not None
        self.left = sweep.budget.trials - len(cells) * len(sweep.seeds)
        settings = {cell.key: dict(point.labels) for point, cell in zip(points, cells, strict=True)}
        told = known(sweep, ledger, settings)
        self.values: dict[str, Result | None] = {cell: result for cell, (_, result) in told.items()}
        self.seen = {name_of(one) for one, _ in told.values()} | {name_of(point.labels) for point in points}
        to_do = {cell.key for cell in cells if cell.key not in told}
        self.study = Study(sweep, ledger.store, told, to_do, len(cells))
        cheap = sweep.sampling.storage == MEMORY and not isinstance(sweep.sampling, Gp)
        self.tries = TRIES if cheap else FEW
        if isinstance(sweep.sampling, Qmc) and sweep.sampling.storage == MEMORY:
            self.tries += len(told) + len(cells)  # its sequence begins anew, at what is known by now
        for point, cell in zip(points, cells, strict=True):
            if cell.key in self.values:
                self.queue.add(self._evaluations(point, cell).todo)
            else:
                number = self.study.under_way.get(cell.key)
                self._take_up(self._again(point, cell) if number is None else number, point, cell)
        self._try_first()

    @property
    def exhausted(self) -> bool:
        """Nothing waits, and the budget holds no further cell with all its seeds."""
        return self.queue.exhausted and (self.used_up or self.left < len(self.sweep.seeds))

    @property
    def note(self) -> str:
        """Why a search ended before its budget, and what its study was not told."""
        notes = ["the search space holds no further cell"] if self.used_up else []
        if self.untold:
            lacks = f"the study does not answer and lacks {len(self.untold)} cells"
            notes.append(f"{lacks}; the next run tells it")
        return "; ".join(notes)

    def next(self) -> Job | None:
        """The next trial: another seed of a cell that is under way, or a new cell's first.

        Raises:
            OSError: the store or the study is away; ask again later.
        """
        job = self.queue.next()
        if job is None and not self.used_up and self.left >= len(self.sweep.seeds):
            self._ask()
            job = self.queue.next()
        return job

    def end_trials(self) -> bool:
        """Ask for no further cell."""
        more = not self.used_up and self.left >= len(self.sweep.seeds)
        self.left = 0
        return self.queue.end_trials() or more

    def done(self, job: Job, outcome: Outcome) -> None:
        """Gather the seeds of a cell; tell Optuna when all are there."""
        self.queue.done(job, outcome)
        if outcome.status == "stopped":
            return
        self._gather(job, outcome)
        while self.queue.given_up:
            lost = self.queue.given_up.pop()
            self._gather(lost, Outcome(lost.key, "failed"))

    def _gather(self, job: Job, outcome: Outcome) -> None:
        """Values of the objectives that a job measures; a trial without weights has none at all."""
        if job.cell not in self.open:
            return  # a parent, or a cell that has been told
        one, fine = self.open[job.cell], outcome.status == "completed"
        if outcome.status == "pruned":
            one.reached.append(reached(outcome.last, self.sweep.watched))
        for metric in self.sweep.goals:
            if label_of(metric.name) == job.label or not (job.label or fine):
                found = outcome.best if metric.checkpoint == "best" else outcome.last
                one.values[job.seed, metric.name] = found.get(metric.name, math.nan) if fine else math.nan
        self._tell_if_complete(job.cell)

    def _tell_if_complete(self, cell: str) -> None:
        one, names = self.open[cell], [metric.name for metric in self.sweep.goals]
        if len(one.values) < len(self.sweep.seeds) * len(names):
            return
        del self.open[cell]
        vectors = {seed: tuple(one.values[seed, name] for name in names) for seed in self.sweep.seeds}
        self.values[cell] = Result(vectors, tuple(one.reached))
        self._tell(one.number, self.values[cell])

    def _tell(self, number: int, result: Result | None) -> None:
        """Tell a study that answers; one that refused is told before the next proposal, or at the end."""
        refused = bool(self.untold)
        self.untold.append((number, result, ""))
        if refused and self.open:
            return  # a refusal may take seconds, in which the dispatcher waits
        with suppress(OSError):
            self._tell_all()

    def _tell_all(self) -> None:
        while self.untold:
            self.study.tell(*self.untold[0])
            self.untold.popleft()

    def _ask(self) -> None:
        """Begin a new cell; what could not be told or begun before comes first."""
        self._tell_all()
        self.proposed = self.proposed or self._proposal()
        if self.proposed is None:
            self.used_up = True
            return
        self._begin(*self.proposed)
        self.proposed = None

    def _proposal(self) -> tuple[int, Point, Cell] | None:
        """A trial's number and its cell, which is not known; None where the space holds no further one."""
        for _ in range(self.tries):
            number, settings = self.study.propose()
            point, cell = expand_one(self.sweep, settings)
            if cell.key not in self.values:
                return number, point, cell
            self._repeat(number, settings, cell)
        self.tries = FEW
        for settings in untried(self.sweep.search, self.seen, len(self.asked.points)):
            point, cell = expand_one(self.sweep, settings)
            if cell.key not in self.values:
                return self.study.propose_at(settings), point, cell
            self.seen.add(name_of(settings))
        return None

    def _repeat(self, number: int, settings: Settings, cell: Cell) -> None:
        """A proposal that is a known cell: what it came to, a failure while it is under way."""
        self.seen.add(name_of(settings))
        self.untold.append((number, self.values[cell.key], cell.key))
        self._tell_all()

    def _begin(self, number: int, point: Point, cell: Cell) -> None:
        """Write a cell down and queue its seeds; what an outage interrupts can be done again."""
        self.study.mark(number, cell.key)
        self.asked.add(point)
        self._take_up(number, point, cell)
        self.seen.add(name_of(point.labels))
        self.left -= len(self.sweep.seeds)

    def _again(self, point: Point, cell: Cell) -> int:
        """A trial for a cell that was asked for before and whose own trial is lost."""
        number = self.study.propose_at(point.labels)
        self.study.mark(number, cell.key)
        return number

    def _try_first(self) -> None:
        wanted = self.sweep.try_first
        for one, asked in zip(wanted, satisfied(wanted, self.asked.points), strict=True):
            whole = all(s.active(dict(one)) == (name in one) for name, s in self.sweep.search.items())
            if not asked and not (whole and expand_one(self.sweep, one)[1].key in self.values):
                self.study.first(one)

    def _take_up(self, number: int, point: Point, cell: Cell) -> None:
        """Queue the seeds of a cell that the ledger does not hold, and count those that it does."""
        jobs = jobs_of([cell], self.sweep, [point])
        status = held(jobs, self.ledger, rule=self.sweep.rule)
        found = self._evaluations(point, cell, status)
        waiting = {(job.seed, job.label) for job in found.todo}
        done = [job.key for job in jobs if job.cell == cell.key and status.get(job.key) in SETTLED]
        rows = attach(self.ledger.read(done, status, rule=self.sweep.rule), found.jobs, self.ledger)
        self.values[cell.key] = None
        self.open[cell.key] = _Open(number)
        for row in rows:
            self._recall(row, waiting)
        self.queue.add([job for job in jobs if status.get(job.key) not in SETTLED] + found.todo)
        self._tell_if_complete(cell.key)

    def _recall(self, row: Row, waiting: set[tuple[int, str]]) -> None:
        """Values that the ledger holds of a cell under way."""
        if row.status == "pruned":
            self.open[row.cell].reached.append(reached(row.last, self.sweep.watched))
        for metric in self.sweep.goals:
            if (row.seed, label_of(metric.name)) not in waiting:
                self.open[row.cell].values[row.seed, metric.name] = value(row, metric)

    def _evaluations(self, point: Point, cell: Cell, status: Mapping[str, Status] | None = None) -> Evaluated:
        """Those of a cell; its trials are settled where no status is given."""
        jobs = evaluations_of([cell], self.sweep, [point])
        index = self.ledger.index(self.sweep.rule) if status is None and jobs else status or {}
        return evaluated(jobs, index, self.ledger)
