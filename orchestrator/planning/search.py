"""Optuna behind ask and tell: proposes cells, never one that is known, and is told their mean."""

from __future__ import annotations

import json
import math
import statistics
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import InputError
from orchestrator.planning.cells import Cell, Point
from orchestrator.planning.evaluations import (
    Evaluated,
    attach,
    evaluated,
    evaluations_of,
    jobs_of_row,
)
from orchestrator.planning.expand import expand_one
from orchestrator.planning.feed import Queue
from orchestrator.planning.job import Job, Outcome
from orchestrator.planning.jobs import held, jobs_of
from orchestrator.records.ledger import Ledger
from orchestrator.records.metrics import label_of
from orchestrator.records.row import DONE, Row, Status
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep

if TYPE_CHECKING:
    import optuna

TRIES = 200
"""Proposals in a row that may be known cells before the space counts as used up."""


class Search:
    """A feed whose cells come from Optuna's TPE sampler (multivariate, seeded by the sweep's first seed).

    A cell is one Optuna trial; it is told the mean of the metric over the cell's seeds, or a failure
    when one of them has no value. What the ledger already holds of the space is told first. Where the
    metric is an evaluation's, a seed has its value when that evaluation is done.

    Args:
        sweep: with a search space and a budget of trials. ledger: of the store.
    """

    def __init__(self, sweep: Sweep, ledger: Ledger) -> None:
        self.sweep, self.ledger, self.label = sweep, ledger, label_of(sweep.metric.name)
        self.points, cells = recorded(sweep, ledger.store)
        done = (key for key, status in ledger.index().items() if status == "completed")
        self.queue = Queue([], done)
        self.values: dict[str, float | None] = {}  # of the cells known; None is under way or failed
        self.open: dict[str, tuple[optuna.Trial, dict[int, float]]] = {}
        self.used_up = False
        assert sweep.budget.trials is not None
        self.left = sweep.budget.trials - len(cells) * len(sweep.seeds)
        self.study = self._study(len(cells))
        self._warm_start(ledger)
        for point, cell in zip(self.points, cells, strict=True):
            if cell.key in self.values:
                self.queue.add(self._evaluations(point, cell).todo)
            else:
                self.study.enqueue_trial(dict(point.labels))
                trial = self.study.ask()
                suggest(trial, sweep.search)
                self._take_up(trial, point, cell)

    @property
    def exhausted(self) -> bool:
        """Nothing waits, and the budget holds no further cell with all its seeds."""
        return self.queue.exhausted and (self.used_up or self.left < len(self.sweep.seeds))

    @property
    def note(self) -> str:
        """Why a search ended before its budget."""
        return "the search space holds no further cell" if self.used_up else ""

    def next(self) -> Job | None:
        """The next trial: another seed of a cell that is under way, or a new cell's first."""
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
        if job.label == self.label or (not job.label and outcome.status != "completed"):
            self._gather(job, self._measured(outcome.best, outcome.last))
        while self.queue.given_up:
            lost = self.queue.given_up.pop()
            if lost.label in ("", self.label):
                self._gather(lost, math.nan)

    def _gather(self, job: Job, value: float) -> None:
        if job.cell not in self.open:
            return  # a parent, or a cell that has been told
        self.open[job.cell][1][job.seed] = value
        self._tell_if_complete(job.cell)

    def _tell_if_complete(self, cell: str) -> None:
        trial, values = self.open[cell]
        if len(values) == len(self.sweep.seeds):
            del self.open[cell]
            self.values[cell] = self._tell(trial, list(values.values()))

    def _ask(self) -> None:
        for _ in range(TRIES):
            trial = self.study.ask()
            settings = suggest(trial, self.sweep.search)
            point, cell = expand_one(self.sweep, settings)
            if cell.key not in self.values:
                self.points.append(point)
                self.left -= len(self.sweep.seeds)
                record(self.sweep, self.ledger.store, self.points)
                self._take_up(trial, point, cell)
                return
            self._tell(trial, [self.values[cell.key]])
        self.used_up = True

    def _take_up(self, trial: optuna.Trial, point: Point, cell: Cell) -> None:
        """Queue the seeds of a cell that the ledger does not hold, and count those that it does."""
        jobs = jobs_of([cell], self.sweep, [point])
        status = held(jobs, self.ledger)
        found = self._evaluations(point, cell, status)
        waiting = {job.seed for job in found.todo if job.label == self.label}
        done = [job.key for job in jobs if job.cell == cell.key and status.get(job.key) in DONE]
        rows = attach(self.ledger.read(done, status), found.jobs, self.ledger)
        self.values[cell.key] = None
        self.open[cell.key] = (trial, {r.seed: self._value(r) for r in rows if r.seed not in waiting})
        self.queue.add([job for job in jobs if status.get(job.key) not in DONE] + found.todo)
        self._tell_if_complete(cell.key)

    def _evaluations(self, point: Point, cell: Cell, status: Mapping[str, Status] | None = None) -> Evaluated:
        """Those of a cell; its trials are done where no status is given."""
        jobs = evaluations_of([cell], self.sweep, [point])
        known = self.ledger.index() if status is None and jobs else status or {}
        return evaluated(jobs, known, self.ledger)

    def _value(self, row: Row) -> float:
        """The sweep's metric, NaN where a trial has none."""
        return row.measured(self.sweep.metric.checkpoint).get(self.sweep.metric.name, math.nan)

    def _measured(self, best: Mapping[str, float], last: Mapping[str, float]) -> float:
        """The sweep's metric, NaN where a trial has none."""
        metrics = best if self.sweep.metric.checkpoint == "best" else last
        return metrics.get(self.sweep.metric.name, math.nan)

    def _tell(self, trial: optuna.Trial, values: list[float | None]) -> float | None:
        import optuna

        known = [value for value in values if value is not None and math.isfinite(value)]
        if len(known) < len(values):
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return None
        self.study.tell(trial, statistics.fmean(known))
        return statistics.fmean(known)

    def _study(self, known: int) -> optuna.Study:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # A continued search must not repeat its first random draws: the seed counts what is known.
            sampler = optuna.samplers.TPESampler(
                seed=self.sweep.seeds[0] + known, multivariate=True, group=True, constant_liar=True
            )
        maximise = self.sweep.metric.mode == "max"
        return optuna.create_study(sampler=sampler, direction="maximize" if maximise else "minimize")

    def _warm_start(self, ledger: Ledger) -> None:
        """Tell what the ledger holds of this space, whichever sweep trained it."""
        cells: dict[str, tuple[dict[str, Any], list[float]]] = {}
        done = [key for key, status in ledger.index().items() if status in DONE]
        for row in ledger.read(done):
            if row.seed not in self.sweep.seeds:
                continue
            settings = settings_of(row, self.sweep)
            if settings is not None:
                (row,) = attach([row], jobs_of_row(row, self.sweep) if self.label else [], ledger)
                value = self._value(row)
                if not self.label or math.isfinite(value):  # else it is still to be evaluated
                    cells.setdefault(row.cell, (settings, []))[1].append(value)
        for cell, (settings, values) in cells.items():
            if len(values) == len(self.sweep.seeds):
                self.values[cell] = self._add(settings, values)

    def _add(self, settings: dict[str, Any], values: list[float]) -> float | None:
        import optuna

        if not all(map(math.isfinite, values)):
            return None
        mean = statistics.fmean(values)
        kinds = {name: distribution(self.sweep.search[name]) for name in settings}
        self.study.add_trial(optuna.trial.create_trial(params=settings, distributions=kinds, value=mean))
        return mean


def suggest(trial: optuna.Trial, space: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each searched setting that exists beside those chosen before it."""
    chosen: dict[str, Any] = {}
    for name, searched in space.items():
        if not searched.active(chosen):
            continue
        if searched.kind == "choice":
            chosen[name] = trial.suggest_categorical(name, searched.choice)
        elif searched.kind == "int":
            chosen[name] = trial.suggest_int(name, *searched.bounds)
        else:
            log = searched.kind == "log_uniform"
            chosen[name] = trial.suggest_float(name, *searched.bounds, log=log)
    return chosen


def distribution(searched: Any) -> optuna.distributions.BaseDistribution:
    """Optuna's form of a searched setting."""
    import optuna

    if searched.kind == "choice":
        return optuna.distributions.CategoricalDistribution(searched.choice)
    if searched.kind == "int":
        low, high = searched.bounds
        return optuna.distributions.IntDistribution(int(low), int(high))
    low, high = searched.bounds
    return optuna.distributions.FloatDistribution(low, high, log=searched.kind == "log_uniform")


def settings_of(row: Row, sweep: Sweep) -> dict[str, Any] | None:
    """The point of the search space that a row is at; None when it is at none.

    A row belongs to the space exactly when the base trial with the row's values of the searched settings
    is the row's cell.
    """
    settings: dict[str, Any] = {}
    for name, searched in sweep.search.items():
        if searched.active(settings):
            value = _value(row.trial, name)
            if value is None or not _inside(searched, value):
                return None
            settings[name] = value
    try:
        _, cell = expand_one(sweep, settings)
    except ValueError:  # the row's values are not legal beside this sweep's base trial
        return None
    return settings if cell.key == row.cell else None


def _value(trial: Mapping[str, Any], dotted: str) -> Any:
    """A setting of a resolved trial; a value given apart for input and weights counts when equal."""
    value: Any = trial
    for part in dotted.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    if isinstance(value, Mapping):
        values = list(value.values())
        return values[0] if values and all(v == values[0] for v in values) else None
    return value


def _inside(searched: Any, value: Any) -> bool:
    if searched.kind == "choice":
        return value in searched.choice
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    low, high = searched.bounds
    return bool(low <= value <= high)


def record(sweep: Sweep, store: Store, points: list[Point]) -> None:
    """Write down the points that a search has asked for, before any of them runs."""
    content = json.dumps([dict(point.labels) for point in points], indent=1)
    store.put(_record(sweep), content.encode())


def recorded(sweep: Sweep, store: Store) -> tuple[list[Point], list[Cell]]:
    """The points that earlier runs of a search asked for, and their cells.

    Raises:
        InputError: the search space was changed so that an earlier point is no longer in it.
    """
    content = store.get(_record(sweep))
    points, cells = [], {}
    for labels in json.loads(content) if content else []:
        space = sweep.search
        if not all(name in space and _inside(space[name], value) for name, value in labels.items()):
            legal = "a space that holds the points asked for before; give the sweep a new name"
            raise InputError("search", sorted(space), legal)
        point, cell = expand_one(sweep, labels)
        points.append(point)
        cells[cell.key] = cell
    return points, list(cells.values())


def _record(sweep: Sweep) -> str:
    return f"sweeps/{sweep.name}/points.json"
