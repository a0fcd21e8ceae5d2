"""Seeds that are added where a decision needs them: which are wanted, and the feed that gives them.

What is wanted is a function of the values alone, replayed from the first round: a round is over when every
trial of it has ended, so that neither the order in which trials end nor a driver that dies changes which
trials are run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from orchestrator.planning import decisions
from orchestrator.planning.cells import CellSeeds, Point
from orchestrator.planning.decisions import Values
from orchestrator.planning.evaluations import attach
from orchestrator.planning.feed import Queue
from orchestrator.planning.job import Job, Outcome
from orchestrator.planning.published import targets_of
from orchestrator.records.ledger import Ledger
from orchestrator.records.metrics import label_of
from orchestrator.records.row import SETTLED, Row
from orchestrator.sweepfile.sweep import Sweep

Wanted = dict[str, set[int]]
"""Seeds by cell."""

More = Callable[[Mapping[str, Values]], set[tuple[str, int]]]
"""The (cell, seed) that values leave to be run; none where all is decided."""


@dataclass(frozen=True)
class Course:
    """How far a sweep that adds seeds has come.

    Attributes:
        jobs, evaluations: of every seed that a cell may have, parents included.
        values: what is known of each cell. wanted: its seeds that are asked for so far.
        more: what values ask for.
    """

    jobs: tuple[Job, ...]
    evaluations: tuple[Job, ...]
    values: dict[str, dict[int, float | None]]
    wanted: Wanted
    more: Callable[[Mapping[str, Values]], Wanted] = field(compare=False)


def asked(jobs: Sequence[Job], wanted: Mapping[str, set[int]], done: Container[str] = ()) -> list[Job]:
    """Those jobs whose seed is wanted and that are not done, and the parents that these start from."""
    parents = {job.key: job.parent for job in jobs}
    keys: set[str | None] = set()
    for job in jobs:
        key: str | None = job.key if job.seed in wanted.get(job.cell, ()) else None
        while key is not None and key not in keys and key not in done:
            keys.add(key)
            key = parents.get(key)
    return [job for job in jobs if job.key in keys]


def course(
    sweep: Sweep, points: Sequence[Point], jobs: Sequence[Job], evaluations: Sequence[Job], ledger: Ledger
) -> Course:
    """How far a sweep has come, from the ledger.

    Args:
        points: of its grid. jobs, evaluations: of every seed that a cell may have.

    Raises:
        SweepError: a published value that belongs to no cell.
    """
    index, cells = ledger.index(sweep.rule), {point.cell for point in points}
    ran = [job for job in jobs if job.cell in cells and job.key in index]
    rows = attach(ledger.read([job.key for job in ran], index, sweep.rule), evaluations, ledger)
    more = partial(wanted_by, sweep, points)
    values = values_of(sweep, points, rows)
    wanted = _with_rows(more(values), [(job.cell, job.seed) for job in ran])
    return Course(tuple(jobs), tuple(evaluations), values, wanted, more)


def values_of(
    sweep: Sweep, points: Sequence[Point], rows: Iterable[Row]
) -> dict[str, dict[int, float | None]]:
    """The sweep's metric by cell and seed: None for a trial that ended without one.

    Trials that failed, and those whose evaluation has not been run, are still to be run.
    """
    found: dict[str, dict[int, float | None]] = {point.cell: {} for point in points}
    label, metric = label_of(sweep.metric.name), sweep.metric
    for row in rows:
        if row.cell not in found or row.seed not in sweep.seeds or row.status not in SETTLED:
            continue
        evaluated = row.evaluations.get(label)
        if label and row.status == "completed" and (evaluated is None or evaluated.status != "completed"):
            continue
        value = row.measured(metric.checkpoint).get(metric.name) if row.status == "completed" else None
        found[row.cell][row.seed] = _finite(value)
    return found


def wanted_by(sweep: Sweep, points: Sequence[Point], values: Mapping[str, Values]) -> Wanted:
    """The seeds of each cell that the values known so far ask for."""
    rule = sweep.sequential
    assert rule is not None
    if rule.decide == "best":
        more = partial(decisions.further_for_best, mode=sweep.metric.mode, most=rule.most)
        return replayed(values, rule.start, more)
    targets = targets_of(sweep, points)
    found: Wanted = {}
    for cell in values:  # a verdict concerns one cell alone, which waits for no other
        pairs = [(one.value, one.margin) for one in targets.get(cell, ())]
        found |= replayed({cell: values[cell]}, rule.start, partial(_verdict, targets=pairs, most=rule.most))
    return found


def _verdict(
    cells: Mapping[str, Values], targets: list[tuple[float, float]], most: int
) -> set[tuple[str, int]]:
    ((cell, values),) = cells.items()
    return decisions.further_for_published(cell, values, targets, most)


def replayed(values: Mapping[str, Values], start: int, more: More) -> Wanted:
    """The seeds wanted of each cell, round by round from the first.

    Values of further seeds, as of an earlier sweep, are taken in where the rounds have come to a decision.
    """
    wanted: Wanted = {cell: set(range(start)) for cell in values}
    while all(wanted[cell] <= values[cell].keys() for cell in wanted):
        known = {cell: {seed: values[cell][seed] for seed in seeds} for cell, seeds in wanted.items()}
        further = more(known)
        held = joined(wanted, values)
        if not further and held == wanted:
            break
        if not further:
            wanted = held
        for cell, seed in further:
            wanted[cell] = wanted[cell] | {seed}
    return wanted


def seeds_asked(sweep: Sweep, points: Sequence[Point], rows: Sequence[Row]) -> Sequence[int]:
    """The sweep's seeds; where they are added, those that each cell has or is asked for."""
    if sweep.sequential is None:
        return sweep.seeds
    wanted = wanted_by(sweep, points, values_of(sweep, points, rows))
    places = [(row.cell, row.seed) for row in rows if row.cell in wanted and row.seed in sweep.seeds]
    return CellSeeds(sweep.seeds, _with_rows(wanted, places))


def _with_rows(wanted: Wanted, places: Iterable[tuple[str, int]]) -> Wanted:
    """What is wanted and what has a row, whoever asked for it."""
    found = {cell: set(seeds) for cell, seeds in wanted.items()}
    for cell, seed in places:
        found[cell].add(seed)
    return found


class Sequential:
    """A feed that gives the seeds that are wanted, and asks again whenever a round is over.

    Args:
        sweep: with a rule for its seeds. course: how far it has come.
        done: keys of trials and evaluations that are not to be run. finished: of trials whose weights are
            there.

    Attributes:
        wanted: seeds by cell, so far. grown: told how many trials were added.
    """

    def __init__(self, sweep: Sweep, course: Course, done: Container[str], finished: Iterable[str]) -> None:
        self.sweep, self.course, self.known = sweep, course, done
        self.label = label_of(sweep.metric.name)
        self.values = {cell: dict(known) for cell, known in course.values.items()}
        self.wanted: Wanted = {}
        self.given: set[str] = set()
        self.open: set[str] = set()
        self.closed = False
        self.grown: Callable[[int], None] = lambda count: None
        self.queue = Queue([], finished)
        self._ask(course.wanted)

    @property
    def exhausted(self) -> bool:
        """Nothing waits, and nothing runs whose end could ask for more."""
        return self.queue.exhausted and (self.closed or not self.open)

    @property
    def note(self) -> str:
        """As of the queue."""
        return self.queue.note

    def next(self) -> Job | None:
        """The next job that is wanted."""
        return self.queue.next()

    def end_trials(self) -> bool:
        """Ask for no further seed; whether any trial is lost."""
        undecided = self.queue.end_trials() or bool(self.open)
        self.closed = True
        return undecided

    def done(self, job: Job, outcome: Outcome) -> None:
        """Take the value in, and ask for further seeds where the round is over."""
        self.queue.done(job, outcome)
        self.open.discard(job.key)
        tells = job.label == self.label or (not job.label and outcome.status != "completed")
        if tells and outcome.status != "stopped" and job.cell in self.values:
            metrics = outcome.best if self.sweep.metric.checkpoint == "best" else outcome.last
            value = metrics.get(self.sweep.metric.name) if outcome.status == "completed" else None
            self.values[job.cell][job.seed] = _finite(value)
        self._give_up()
        if not self.closed:
            before = sum(map(len, self.wanted.values()))
            self._ask(joined(self.wanted, self.course.more(self.values)))
            self.grown(sum(map(len, self.wanted.values())) - before)

    def _ask(self, wanted: Wanted) -> None:
        """Queue what is wanted and neither done nor given."""
        if wanted == self.wanted:
            return
        self.wanted = wanted
        jobs = asked(self.course.jobs, wanted, self.known)
        jobs += [job for job in self.course.evaluations if job.seed in wanted.get(job.cell, ())]
        new = [job for job in jobs if job.key not in self.given and job.key not in self.known]
        self.given |= {job.key for job in new}
        self.open |= {job.key for job in new}
        self.queue.add(new)
        self._give_up()

    def _give_up(self) -> None:
        """Trials whose parent left no weights have no value, as their evaluations."""
        for lost in self.queue.given_up:
            self.open.discard(lost.key)
            if lost.label in ("", self.label) and lost.cell in self.values:
                self.values[lost.cell].setdefault(lost.seed, None)


def joined(wanted: Mapping[str, set[int]], more: Mapping[str, Iterable[int]]) -> Wanted:
    """The seeds of both."""
    return {cell: seeds.union(more.get(cell, ())) for cell, seeds in wanted.items()}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
