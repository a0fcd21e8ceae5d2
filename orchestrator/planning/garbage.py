"""Python's garbage collector, kept away from what is no garbage: modules, a plan, its jobs.

A driver imports four thousand modules, a million objects. Searched again and again while they come, they take
a quarter longer, and they are searched once more when the process ends, for more than a second.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

USUAL = gc.get_threshold()
"""Objects after which each generation is searched, as Python has them."""

TRITON = "triton._C.libtriton"
"""What torch's compiler loads of triton."""

SELDOM = (50_000, 20, 100)
"""The same for a command that imports for most of its time."""


def hasten() -> None:
    """Let a command begin and end sooner: it is searched seldom, and not at its end."""
    gc.set_threshold(*SELDOM)
    atexit.register(_keep)


def _keep() -> None:
    """Leave what there is to the process's end, which frees it all at once.

    Not where torch's compiler has loaded triton: its bindings report in thirty lines what of theirs is kept.
    """
    if TRITON not in sys.modules:
        gc.freeze()


@contextmanager
def unsearched() -> Iterator[None]:
    """Inside, nothing is searched; afterwards all is again as it was."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextmanager
def imports() -> Iterator[None]:
    """Inside, nothing is searched; what is there at the end is left alone for good."""
    with unsearched():
        yield
        gc.freeze()


@contextmanager
def settled() -> Iterator[None]:
    """Inside, the collector works as usual, and leaves alone what is there now.

    It would go through all of it again and again while trials come and go, at half as much again of the
    driver's time.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*USUAL)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
