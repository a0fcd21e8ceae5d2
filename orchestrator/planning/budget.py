"""The limits of a run: trials, hours, money, and the user's word."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.planning.feed import Feed
from orchestrator.planning.job import Job, Outcome
from orchestrator.planning.spending import Meter

REQUESTED = "stopped on request"
"""Why a sweep ended that Ctrl-C, a signal or ``perturb stop`` drained."""


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
