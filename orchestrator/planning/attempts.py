"""Between a feed and those who run its jobs: failures are judged, and jobs started again."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace

from orchestrator.planning.budget import REQUESTED, Budget
from orchestrator.planning.job import Job, Outcome
from orchestrator.planning.policy import Policy


def silent(text: str) -> None:
    """Tell nobody."""


def unknown(job: Job) -> Outcome | None:
    """No ledger to ask."""
    return None


class Attempts:
    """What a dispatcher asks for jobs, and tells how each attempt at one ended.

    Args:
        feed: where jobs come from. policy: what is done about failures.
        say: told what the user should know at once: why a sweep ends, which node is left out.
        finished: how a job ended since it was given, from the ledger; None where it did not.

    Attributes:
        width: by key, how often a job's share of a device was doubled.
        broken: whether failures ended the sweep early.
    """

    def __init__(
        self,
        feed: Budget,
        policy: Policy,
        say: Callable[[str], None] = silent,
        finished: Callable[[Job], Outcome | None] = unknown,
    ) -> None:
        self.feed, self.policy, self.say, self.finished = feed, policy, say, finished
        self.again: deque[Job] = deque()
        self.width: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.broken = False

    @property
    def exhausted(self) -> bool:
        """No job waits, and none will come."""
        return self.feed.exhausted and (self.feed.closed or not self.again)

    def next(self) -> Job | None:
        """A job to run now: one that failed before others; None when there is none yet."""
        if self.again and not self.feed.closed:
            job = self.again.popleft()
        else:
            found = self.feed.next()
            if found is None:
                return None
            job = found
        self.attempts[job.key] += 1
        return replace(job, attempt=self.attempts[job.key])

    def ended(self, job: Job, outcome: Outcome, widest: bool = True) -> Outcome:
        """How an attempt ended; returns what becomes of the job.

        Args:
            widest: whether it had as much of a device as there is.
        """
        before = set(self.policy.excluded)
        verdict = self.policy.judge(job, outcome, widest)
        for node in self.policy.excluded - before:
            count = self.policy.blamed[node]
            self.say(f"node {node} is left out after {count} failures in a row, the last: {outcome.message}")
        if verdict.again and not self.feed.closed:
            self.width[job.key] += verdict.wider
            self.again.append(job)
            self.feed.again(outcome)
            return replace(outcome, status="again")
        if verdict.again and outcome.failure == "lost":  # it waits for the next run, with its checkpoint
            outcome = replace(outcome, status="stopped", failure=None)
        self.feed.done(job, outcome)
        if verdict.stop and not self.feed.closed:
            self.broken = True
            self.feed.stop(verdict.stop)
            self.say(f"{outcome.trace.rstrip()}\n{verdict.stop}; no further trial is started")
        return outcome

    def stop(self, why: str = REQUESTED) -> None:
        """Give no further job."""
        self.feed.stop(why)

    @property
    def stopped(self) -> str:
        """Why it ended early; empty when it did not."""
        return self.feed.stopped

    @property
    def closed(self) -> bool:
        """Whether nothing is to begin any more; not so when the last trial of a budget is given."""
        return self.feed.exhausted and self.feed.closed  # in this order: the first looks at the clock

    @property
    def note(self) -> str:
        """What the user should know at the end."""
        return self.feed.note
