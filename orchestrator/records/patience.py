"""Waiting for a store that is full, read-only or away for a while."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_SECONDS = 600.0
"""Time that a store is waited for, by one who holds what would be lost."""

LONGEST_PAUSE = 10.0
"""Seconds between two tries at most."""

T = TypeVar("T")


def patiently(act: Callable[[], T], logger: str = "perturb.trial", seconds: float | None = None) -> T:
    """Do what needs a store, over again while it refuses: what was computed is not thrown away.

    Args:
        act: may be done again where it failed. logger: told of the first failure.
        seconds: to wait at most; None for :data:`PATIENCE_SECONDS`.

    Raises:
        OSError: it has been so for that long.

    >>> patiently(lambda: "written")
    'written'
    """
    began, pause, told = time.monotonic(), 0.1, False
    while True:
        try:
            return act()
        except OSError as error:
            if time.monotonic() - began >= (PATIENCE_SECONDS if seconds is None else seconds):
                raise
            if not told:
                logging.getLogger(logger).warning("the store refuses, and is waited for: %s", error)
            told = True
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
