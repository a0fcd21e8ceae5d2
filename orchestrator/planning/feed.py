"""What a dispatcher asks for its next job, and tells how one ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from orchestrator.planning.job import Job, Outcome


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
