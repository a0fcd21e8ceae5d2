"""Who is told what happens to jobs, however they are dispatched."""

from __future__ import annotations

from typing import Protocol

from orchestrator.planning.job import Job, Outcome


class Observer(Protocol):
    """Someone who is told what happens to jobs: the progress view, the tracker."""

    def started(self, job: Job) -> None:
        """A worker begins the job."""

    def epoch(self, job: Job, epoch: int, metrics: dict[str, float]) -> None:
        """An epoch has ended; not every one is told."""

    def finished(self, job: Job, outcome: Outcome) -> None:
        """The job ended."""

    def again(self, job: Job, outcome: Outcome) -> None:
        """The job failed, and is started once more."""
