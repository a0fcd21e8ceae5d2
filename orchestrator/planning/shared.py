"""A feed beside other drivers' feeds: what they train is waited for, what they finished is not run again."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from orchestrator.planning.feed import Feed
from orchestrator.planning.job import Job, Outcome
from orchestrator.records.claims import Claims
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.lease import Holder
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.table import R, Table

LOOK_SECONDS = 1.0
"""Time between two looks at the jobs that other drivers have; a store that refused is left alone as long."""

REST = 5
"""The same in times of what the refusal took, where that is longer: the dispatcher's loop waited for it."""

WEIGHTS = {
    "none": (),
    "best": ("best",),
    "last": ("last",),
    "both": ("best", "last"),
    "all": ("best", "last"),
}
"""Checkpoints that a trial surely leaves, by what it keeps."""


class Shared:
    """A feed whose jobs are claimed before they are given, and given back when they have ended.

    A job that another living driver has is set aside. When its row is in the ledger, the feed within is
    told how it ended; when it was let go of without one (it failed or stopped there, or the driver died), it
    is claimed and given.

    Args:
        feed: where the jobs come from. claims: of this driver. ledger: where rows of other drivers appear.
        needed: whether a trial's weights are needed, so that a row alone does not do.
        elsewhere: told how a job of this feed ended that this driver has not run.
        say: given a line when another driver is waited for. rule: digest of the sweep's scheduler.
        clock: seconds since any moment.

    Attributes:
        aside: jobs that other drivers have, by key.
    """

    def __init__(
        self,
        feed: Feed,
        claims: Claims,
        ledger: Ledger,
        needed: Callable[[Job], bool] | None = None,
        elsewhere: Callable[[Job, Outcome], None] | None = None,
        say: Callable[[str], None] | None = None,
        rule: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.feed, self.claims, self.ledger = feed, claims, ledger
        self.needed, self.elsewhere, self.say = needed, elsewhere, say
        self.rule, self.clock = rule, clock
        self.aside: dict[str, Job] = {}
        self._due, self._away = -math.inf, False
        self._told: set[str] = set()
        self._retrained: set[str] = set()

    @property
    def exhausted(self) -> bool:
        """Nothing is to come, from other drivers either."""
        return self.feed.exhausted and not self.aside

    @property
    def note(self) -> str:
        """Passed on."""
        return self.feed.note

    def next(self) -> Job | None:
        """The next job that no other driver has; those set aside are looked at again first."""
        if (self.aside or self._away) and self.clock() > self._due:
            self._due, self._away = self.clock() + LOOK_SECONDS, False
            for waiting in list(self.aside.values()):
                if not self._away and self._claimed(waiting):
                    return waiting
        while not self._away and (job := self._given()) is not None:
            if self._claimed(job):
                return job
        return None

    def _given(self) -> Job | None:
        """The next job of the feed within; none while a store is away that it writes to."""
        began = self.clock()
        try:
            return self.feed.next()
        except OSError as error:
            self._wait_for_store(error, began)
            return None

    def end_trials(self) -> bool:
        """Passed on; trials that other drivers have are not waited for."""
        lost = self.feed.end_trials()
        for job in [job for job in self.aside.values() if job.evaluation is None]:
            del self.aside[job.key]
            self.feed.done(job, Outcome(job.key, "stopped"))
            lost = True
        return lost

    def done(self, job: Job, outcome: Outcome) -> None:
        """Passed on; the worker has written the row, so the claim is given back."""
        self.claims.release(job.key)
        self.feed.done(job, outcome)

    def _claimed(self, job: Job) -> bool:
        """Whether a job is to be given now; otherwise it is set aside, or is done."""
        self.aside[job.key] = job
        began = self.clock()
        try:
            holder = self.claims.take(job.key)
            outcome = self.finished(job) if holder is None else None
        except OSError as error:
            self._wait_for_store(error, began)
            return False
        if holder is not None:
            self._wait_for(holder)
            return False
        del self.aside[job.key]
        if outcome is None:
            return True
        self.claims.release(job.key)
        self.feed.done(job, outcome)
        if self.elsewhere:
            self.elsewhere(job, outcome)
        return False

    def finished(self, job: Job) -> Outcome | None:
        """How a job ended by its row: run by another driver since it was planned, or by a worker that died.

        Raises:
            OSError: the store is away.
        """
        if job.evaluation is not None:
            looked = _done(self.ledger.evaluations, job.key)
            return outcome_of_evaluation(job, looked) if looked else None
        row = _done(self.ledger, job.key, self.rule)
        if row is None or job.key in self._retrained:
            return None
        if row.status == "completed" and self._lacks_weights(job):
            self._retrained.add(job.key)  # weights that are there from now on may be of half a training
            return None
        return outcome_of(row)

    def _lacks_weights(self, job: Job) -> bool:
        if self.needed is None or not self.needed(job):
            return False
        folder = f"checkpoints/{job.key}"
        return not all(self.ledger.store.exists(f"{folder}/{name}.pt") for name in WEIGHTS[job.keep])

    def _wait_for(self, holder: Holder) -> None:
        if self.say and holder.id not in self._told:
            of = f" (sweep {holder.sweep})" if holder.sweep else ""
            self.say(f"{holder}{of} runs trials of this sweep; they are waited for, not run twice")
        self._told.add(holder.id)

    def _wait_for_store(self, error: OSError, began: float) -> None:
        """Leave a store or a study alone for a while; where packets are swallowed a refusal takes seconds."""
        refused = self.clock()
        self._away, self._due = True, refused + max(LOOK_SECONDS, REST * (refused - began))
        if "store" not in self._told:
            text = "the store does not answer (%s); no job is given until it does"
            logging.getLogger("perturb").warning(text, error)
        self._told.add("store")


def outcome_of(row: Row) -> Outcome:
    """How a trial ended, from its row."""
    failure, seconds = row.failure, row.timings.get("total", 0.0)
    return Outcome(row.key, row.status, failure, row.error, row.best, row.last, seconds)


def outcome_of_evaluation(job: Job, row: EvaluationRow) -> Outcome:
    """How an evaluation ended, from its row, under the label that the job's sweep gives it."""
    named = {f"{job.label}.{name}": value for name, value in row.metrics.items()}
    return Outcome(row.key, row.status, row.failure, row.error, named, named, row.seconds)


def _done(table: Table[R], key: str, rule: str = "") -> R | None:
    """The row of a key where it is done; nothing is listed where it is not."""
    return table.one(key, rule) if table.is_done(key, rule) else None
