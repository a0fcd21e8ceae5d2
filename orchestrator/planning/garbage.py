"""Python's garbage collector and what a sweep keeps for as long as it runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def settled() -> Iterator[None]:
    """Inside, the collector leaves alone what is there now: modules, a plan, its jobs.

    It would go through all of it again and again while trials come and go, at half as much again of the
    driver's time.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
