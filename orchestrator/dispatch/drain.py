"""Ctrl-C, SIGTERM and SIGUSR1, by which clusters give notice: the first drains, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


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
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
