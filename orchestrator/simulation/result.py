"""What a simulation found."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Simulated:
    """A sweep as it went on simulated slots.

    Times are virtual seconds, but for those called real.

    Attributes:
        sweep: its name. slots: trials that ran at once. trials: asked for.
        statuses: trials by how they ended. failures: by class. attempts: that were started.
        seconds: from the first start to the last end. minimum: of the same work given out without delay, in
            the same order (:func:`least`). busy: of all slots together.
        metric: that cells are judged by. best: the best cell's ``labels``, ``mean`` and ``seeds``, and how
            many were ``planned``; None without one. curves: attempts by the origin of their curve.
        stopped: why it ended early. note: what to know besides.
        driver: real seconds of the driver, by part: ``plan``, ``run``, and ``compact`` after the last trial.
        workers: real seconds of what workers do elsewhere. memory: most bytes that this process has held.
    """

    sweep: str
    slots: int
    trials: int
    statuses: Mapping[str, int]
    failures: Mapping[str, int]
    attempts: int
    seconds: float
    minimum: float
    busy: float
    metric: str
    best: Mapping[str, Any] | None
    curves: Mapping[str, int]
    stopped: str = ""
    note: str = ""
    driver: Mapping[str, float] = field(default_factory=dict)
    workers: float = 0.0
    memory: int = 0

    @property
    def utilisation(self) -> float:
        """Part of the slots' time in which they trained."""
        return self.busy / (self.slots * self.seconds) if self.seconds else 0.0

    @property
    def delay(self) -> float:
        """What the schedule is longer than the shortest, relative to that."""
        return self.seconds / self.minimum - 1 if self.minimum else 0.0

    def overhead(self, speed: float = 1000.0) -> float:
        """Real seconds of the driver up to the last trial, relative to the shortest schedule at a speed."""
        spent = self.driver.get("plan", 0.0) + self.driver.get("run", 0.0)
        return spent * speed / self.minimum if self.minimum else 0.0

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        more = {"utilisation": self.utilisation, "delay": self.delay, "overhead_1000x": self.overhead()}
        return {"version": 1, **asdict(self), **more}


def least(seconds: Iterable[float], slots: int) -> float:
    """The time in which slots do stints of work in this order, each slot taking the next when it is free.

    For n stints of equal length t it is ``ceil(n / slots) t``.

    >>> least([30.0] * 10, 4)
    90.0
    """
    ends = [0.0] * slots
    for one in seconds:
        heapq.heapreplace(ends, ends[0] + one)
    return max(ends)
