"""What is done about a trial that failed, by the class of its failure: tried again, where, or not.

- lost with its node, or preempted: started again from its checkpoint, free of charge, up to
  ``failures.lost`` times.
- lost, its process having died on a living node: started again ``failures.retries`` times, then recorded.
- out of memory: started again with twice the share of a device, until it has one alone, then recorded.
- node, a broken GPU or a full disk: started again ``failures.retries`` times. A node with ``failures.node``
  such failures or deaths in a row, each trial's first, is left out; where no trial would fit on the others,
  the sweep ends.
- error, an exception of the code: recorded. The sweep ends when ``failures.same_error`` trials failed alike
  and no more than as many others came to an end.
- time-out, cancelled, data: recorded.
- diverged is no failure: a result.

Nothing here knows Ray: outcomes come in, verdicts go out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.planning.job import Job, Outcome
from orchestrator.sweepfile.parts import Failures


@dataclass(frozen=True)
class Verdict:
    """What is done about an outcome.

    Attributes:
        again: whether the job is started again. wider: with twice the share of a device.
        stop: why the whole sweep ends; empty where it goes on.
    """

    again: bool = False
    wider: bool = False
    stop: str = ""


RECORD = Verdict()


@dataclass
class Policy:
    """Counts failures and judges outcomes.

    Args:
        failures: how many of each are borne.
        room: whether a trial fits on the nodes that are there now, those of these ids left out.

    Attributes:
        excluded: nodes on which nothing is started any more.

    >>> policy = Policy(Failures(retries=1))
    >>> job, died = Job("k", "c", 0, {}), Outcome("k", "failed", "lost")
    >>> policy.judge(job, died).again, policy.judge(job, died).again
    (True, False)
    """

    failures: Failures = field(default_factory=Failures)
    room: Callable[[set[str]], bool] = lambda left_out: False
    excluded: set[str] = field(default_factory=set)
    _tries: Counter[tuple[str, str]] = field(default_factory=Counter)
    _of_node: Counter[str] = field(default_factory=Counter)
    _alike: dict[str, set[str]] = field(default_factory=dict)
    _died: set[tuple[str, str]] = field(default_factory=set)
    _well: int = 0

    def judge(self, job: Job, outcome: Outcome, widest: bool = True) -> Verdict:
        """What is done about a job's outcome.

        Args:
            widest: whether the job had as much of a device as there is.
        """
        if outcome.status == "stopped":
            return RECORD
        if outcome.status != "failed":
            self._well += 1
            self._of_node.pop(outcome.node, None)  # what works there is no bad node
            return RECORD
        if outcome.failure == "lost":
            return self._lost(job, outcome)
        if outcome.failure == "out of memory":
            tries = self._count(job, "out of memory")
            return Verdict(again=not widest and tries <= 8, wider=True)
        if outcome.failure == "node":
            return self._blame(outcome) or Verdict(again=self._count(job, "node") <= self.failures.retries)
        return self._error(job, outcome) if outcome.failure == "error" else RECORD

    def _lost(self, job: Job, outcome: Outcome) -> Verdict:
        if outcome.free:
            return Verdict(again=self._count(job, "free") <= self.failures.lost)
        place, again = (job.key, outcome.node), self._count(job, "lost") <= self.failures.retries
        blamed = None if place in self._died else self._blame(outcome)  # one that always dies says it once
        self._died.add(place)
        return blamed or Verdict(again=again)

    def _error(self, job: Job, outcome: Outcome) -> Verdict:
        """The sweep ends when one error is most of what comes of it."""
        alike = self._alike.setdefault(outcome.place or outcome.message, set())
        alike.add(job.key)
        limit = self.failures.same_error
        if not limit or len(alike) < limit or len(alike) < self._well:
            return RECORD
        return Verdict(stop=f"{len(alike)} trials failed alike: {outcome.message}")

    def _blame(self, outcome: Outcome) -> Verdict | None:
        """Count a failure against its node; a verdict where trials cannot do without it."""
        node = outcome.node
        if not node:
            return None
        self._of_node[node] += 1
        if not self.failures.node or self._of_node[node] < self.failures.node or node in self.excluded:
            return None
        if not self.room(self.excluded | {node}):
            times = self._of_node[node]
            why = "failures in a row on a node that the trials cannot do without"
            return Verdict(stop=f"{times} {why}: {outcome.message}")
        self.excluded.add(node)
        return None

    def _count(self, job: Job, kind: str) -> int:
        self._tries[job.key, kind] += 1
        return self._tries[job.key, kind]

    @property
    def blamed(self) -> Mapping[str, int]:
        """Failures of each node since something last worked there."""
        return self._of_node
