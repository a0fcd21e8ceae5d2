"""When several workers stop to agree on what the report says: seldom where steps are quick."""

from __future__ import annotations

import time

from engine.distributed import Workers

STEPS = 16
"""Most steps between two agreements."""

SECONDS = 5.0
"""Time between two agreements where steps are slow, so that a request to stop is heard soon."""


class Poll:
    """Steps of an epoch at which all workers listen; a worker alone listens after each.

    Clocks differ between workers, so that rank 0 says after how many steps they listen again:
    ``n = max(1, min(16, 5 s / seconds a step))``.

    Args:
        workers: who must agree. step: the first of the epoch that is left.
    """

    def __init__(self, workers: Workers, step: int) -> None:
        self.workers, self.next = workers, step
        self.at, self.then = step, time.monotonic()

    def due(self, step: int) -> bool:
        """Whether to listen after this step, counted from 0."""
        return self.workers.size == 1 or step >= self.next

    def heard(self, step: int) -> None:
        """All have listened after this step."""
        if self.workers.size == 1:
            return
        now = time.monotonic()
        each = (now - self.then) / (step + 1 - self.at)
        steps = max(1, min(STEPS, int(SECONDS / max(each, 1e-9))))
        self.at, self.then = step + 1, now
        self.next = step + self.workers.agree(steps)
