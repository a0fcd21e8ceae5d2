"""What the driver itself has to write while jobs run, kept while the store is full, read-only or away."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from orchestrator.records.patience import patiently

AGAIN_SECONDS = 1.0
"""Time between two tries."""


class Late:
    """Writes at once, or later where the store refuses: the dispatcher's loop waits for no store.

    >>> late = Late()
    >>> late.write(lambda: print("written"))
    written
    """

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], object]] = deque()
        self.tried, self.told = 0.0, False

    def write(self, act: Callable[[], object]) -> None:
        """Write, in the order of the calls. ``act`` may be called again where it failed."""
        self.waiting.append(act)
        if len(self.waiting) == 1:
            self._try()

    def look(self) -> None:
        """Try again what waits; called often, tries once a second."""
        if self.waiting and time.monotonic() - self.tried > AGAIN_SECONDS:
            self._try()

    def close(self) -> None:
        """Wait until all is written.

        Raises:
            OSError: the store has been waited for as long as a row waits.
        """
        while self.waiting:
            patiently(self.waiting[0], "perturb")
            self.waiting.popleft()

    def _try(self) -> None:
        self.tried = time.monotonic()
        try:
            while self.waiting:
                self.waiting[0]()
                self.waiting.popleft()
            self.told = False
        except OSError as error:
            if not self.told:
                text = "the store refuses a row (%s), which is written when it is back"
                logging.getLogger("perturb").warning(text, error)
            self.told = True
