"""The clock of a simulation: virtual time beside the real time that it took to compute."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Virtual seconds since the start of a simulation; called, it tells them.

    Real time is charged to one of two accounts: what workers would do on machines of their own (curves,
    reports as JSON, rows) and all else, which is the driver's. With a ``speed`` the driver is a server that
    is busy meanwhile: a real second of its work takes ``speed`` virtual ones, and what happens then waits.

    Args:
        speed: virtual seconds of a real second of the driver's work; 0 for a driver that takes no time.

    Attributes:
        driver, workers: real seconds charged so far.

    >>> clock = Clock()
    >>> clock.jump(60), clock.jump(30), clock()
    (None, None, 60.0)
    """

    def __init__(self, speed: float = 0.0) -> None:
        self.speed = speed
        self._now = 0.0
        self.begin()

    def __call__(self) -> float:
        """The time now."""
        return self._now

    def begin(self) -> None:
        """Charge from here on; what went before is nobody's."""
        self.driver = self.workers = 0.0
        self._mark, self._aside = time.perf_counter(), 0.0

    def jump(self, to: float) -> None:
        """Go on to a time; nothing where it has passed."""
        self._now = max(self._now, float(to))

    def charge(self) -> None:
        """Charge the real time since the last call to the driver, without that of the workers."""
        now = time.perf_counter()
        spent, self._mark, self._aside = now - self._mark - self._aside, now, 0.0
        self.driver += spent
        self._now += self.speed * spent

    @contextmanager
    def worker(self) -> Iterator[None]:
        """What is done inside is the workers' work."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self.workers += spent
            self._aside += spent
