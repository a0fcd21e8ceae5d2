"""Ctrl-C, SIGTERM and SIGUSR1, by which clusters give notice: the first drains, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Notice:
    """What SIGUSR1 does while a run has no trials: nothing, but that it is remembered."""

    given = False

    def __call__(self, number: int, frame: Any) -> None:
        """The signal came."""
        self.given = True


@contextmanager
def noticed() -> Iterator[None]:
    """Around a whole run: notice does not end the process, and what came early is heard by :func:`draining`.

    SIGUSR1 comes before the trials begin, or again when they have ended and their report is written. Outside
    the main thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGUSR1, Notice())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


@contextmanager
def draining(drain: Callable[[], None]) -> Iterator[None]:
    """Inside the block the first signal calls ``drain``, a second SIGINT or SIGTERM interrupts.

    Outside the main thread, where signals cannot be handled, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def heard(number: int, frame: Any) -> None:
        seen.append(number)
        if len(seen) > 1 and number != signal.SIGUSR1:  # notice may be given more than once
            raise KeyboardInterrupt
        drain()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.signal(number, heard) for number in numbers}
    try:
        if getattr(before[signal.SIGUSR1], "given", False):
            drain()
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
