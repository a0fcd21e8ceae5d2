"""What a dispatcher asks for its next job, and tells how one ended."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from orchestrator.planning.job import Job, Outcome

if TYPE_CHECKING:
    from orchestrator.planning.spending import Meter

REQUESTED = "stopped on request"
"""Why a sweep ended that Ctrl-C, a signal or ``perturb stop`` drained."""


class Feed(Protocol):
    """Where jobs come from. A dispatcher asks until the feed is exhausted and nothing runs."""

    @property
    def exhausted(self) -> bool:
        """Whether no further job will come."""
        ...

    @property
    def note(self) -> str:
        """What the user should know at the end; mostly nothing."""
        ...

    def next(self) -> Job | None:
        """A job to run now; None when there is none yet."""
        ...

    def end_trials(self) -> bool:
        """Give no further trial, but the evaluations of those that are done or run; whether any is lost."""
        ...

    def done(self, job: Job, outcome: Outcome) -> None:
        """How a job ended."""
        ...


class Queue:
    """Jobs in their order; one that starts from another, or evaluates it, waits for it.

    An evaluation goes before the trials that wait, so that cells are complete early.

    Args:
        jobs: what is to do. done: keys of completed trials, whose weights are there.

    Attributes:
        given_up: jobs that cannot run, since the trial that they need left no weights.
    """

    def __init__(self, jobs: Iterable[Job], done: Iterable[str] = ()) -> None:
        self.waiting: deque[Job] = deque()
        self.evaluations: deque[Job] = deque()
        self.running: set[str] = set()
        self.finished = set(done)
        self.given_up: list[Job] = []
        self.add(jobs)

    def add(self, jobs: Iterable[Job]) -> None:
        """More to do; jobs that wait or run already are passed over."""
        known = self.running | {job.key for job in (*self.waiting, *self.evaluations)}
        new = [job for job in jobs if job.key not in known]
        self.waiting += [job for job in new if job.evaluation is None]
        self.evaluations += [job for job in new if job.evaluation is not None]
        self.finished -= {job.key for job in new}  # done before, but its weights are gone
        coming = {None} | self.finished | self.running | {job.key for job in self.waiting}
        for job in [job for job in (*self.waiting, *self.evaluations) if job.parent not in coming]:
            self._give_up(job)

    @property
    def exhausted(self) -> bool:
        """No job waits."""
        return not self.waiting and not self.evaluations

    @property
    def note(self) -> str:
        """How many jobs could not run."""
        lost = sum(job.evaluation is None for job in self.given_up)
        alone = len(self.given_up) - lost
        notes = [f"{lost} trials start from one that left no weights, and were not run"] if lost else []
        if alone:
            notes.append(f"{alone} evaluations are of trials that left no weights, and were not run")
        return "; ".join(notes)

    def next(self) -> Job | None:
        """The first job whose parent, if it has one, is done."""
        return self._ready(self.evaluations) or self._ready(self.waiting)

    def end_trials(self) -> bool:
        """Only evaluations of trials that are done or run stay."""
        lost = bool(self.waiting)
        self.waiting.clear()
        there = self.finished | self.running
        self.evaluations = deque(job for job in self.evaluations if job.parent in there)
        return lost

    def done(self, job: Job, outcome: Outcome) -> None:
        """A trial that ended without weights takes the jobs that need them along."""
        self.running.discard(job.key)
        if outcome.status == "completed":
            self.finished.add(job.key)
        else:
            self._children_give_up(job)

    def _ready(self, jobs: deque[Job]) -> Job | None:
        for _ in range(len(jobs)):
            job = jobs.popleft()
            if job.parent is None or job.parent in self.finished:
                self.running.add(job.key)
                return job
            jobs.append(job)
        return None

    def _give_up(self, job: Job) -> None:
        jobs = self.waiting if job.evaluation is None else self.evaluations
        if job in jobs:
            jobs.remove(job)
            self.given_up.append(job)
            self._children_give_up(job)

    def _children_give_up(self, job: Job) -> None:
        for child in [one for one in (*self.waiting, *self.evaluations) if one.parent == job.key]:
            self._give_up(child)


class Budget:
    """A feed that ends when its trials, its hours or its money are used up, or when it is told to.

    Evaluations cost no trials: those of the trials that it gave are still given.

    Args:
        feed: where the jobs come from. trials: how many it may still give; None is no limit.
        hours: wall-clock hours from now; None is no limit.
        meter: of the cost; None is no limit. While a trial more cannot be afforded, those that run are
            waited for: they may cost less than expected.
        clock: seconds since any moment.
    """

    def __init__(
        self,
        feed: Feed,
        trials: int | None = None,
        hours: float | None = None,
        meter: Meter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.feed, self.trials, self.meter, self.clock = feed, trials, meter, clock
        self.ends = clock() + 3600 * hours if hours is not None else None
        self.stopped = ""
        self.closed = False

    @property
    def exhausted(self) -> bool:
        """Nothing more will come."""
        if not self.closed and self.ends is not None and self.clock() > self.ends:
            self.stop("the budget of hours is used up")
        return self.closed or self.feed.exhausted

    @property
    def note(self) -> str:
        """Passed on."""
        return self.feed.note

    def stop(self, why: str) -> None:
        """Give no further job."""
        self.closed = True
        self.stopped = self.stopped or why

    def end_trials(self) -> bool:
        """Passed on."""
        return self.feed.end_trials()

    def next(self) -> Job | None:
        """A job within the budget."""
        if self.exhausted or self._waits_for_money():
            return None
        job = self.feed.next()
        if job is not None and job.evaluation is None and self.meter is not None:
            self.meter.start(job)
        if job is not None and job.evaluation is None and self.trials is not None:
            self.trials -= 1
            if self.trials == 0 and self.feed.end_trials():
                self.stopped = self.stopped or "the budget of trials is used up"
        return job

    def done(self, job: Job, outcome: Outcome) -> None:
        """Passed on; a trial that was stopped saw the request before this feed did."""
        if outcome.status == "stopped":
            self.stop(REQUESTED)
        if self.meter is not None:
            self.meter.end(job, outcome)
        self.feed.done(job, outcome)

    def again(self, outcome: Outcome) -> None:
        """An attempt failed, and the job is started once more; the attempt is paid all the same."""
        if self.meter is not None:
            self.meter.pay(outcome)

    def _waits_for_money(self) -> bool:
        """Whether no trial can be afforded until one that runs has ended; where none runs, trials end."""
        if self.meter is None or self.meter.affords:
            return False
        if self.meter.running:
            return True
        if self.feed.end_trials():
            self.stopped = self.stopped or self.meter.words
        return False
