"""Memory that the C library keeps from one step to the next, in place of giving it back to the system.

glibc maps large blocks anew each time and returns the top of the heap to the kernel as soon as a step has
freed its activations; the next step faults in every page of them again: on a CPU up to a third of a step
(LeNet-5, batch 128: 2,200 faults; an LSTM with 30,000 words: 22,000). Nothing that is computed depends on it.
"""

from __future__ import annotations

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
KEPT = 2**30
"""Bytes of free memory at the top of the heap that stay."""


@cache
def keep_freed() -> bool:
    """Keep freed memory from now on, in the whole process; False where the C library is not glibc."""
    libc = _libc()
    if libc is None:
        return False
    return bool(libc.mallopt(_TRIM_THRESHOLD, KEPT) and libc.mallopt(_MMAP_MAX, 0))


def release() -> None:
    """Give all free memory back once."""
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _libc() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("libc.so.6")
    except OSError:  # not Linux, or another C library
        return None
