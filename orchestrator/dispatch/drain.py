"""Ctrl-C and SIGTERM: the first drains, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def draining(drain: Callable[[], None]) -> Iterator[None]:
    """Inside the block the first SIGINT or SIGTERM calls ``drain``, the second raises KeyboardInterrupt.

    Outside the main thread, where signals cannot be handled, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def heard(number: int, frame: Any) -> None:
        seen.append(number)
        if len(seen) > 1:
            raise KeyboardInterrupt
        drain()

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
