"""Memory that the C library keeps from one step to the next, in place of giving it back to the system.

glibc returns the top of the heap to the kernel as soon as a step has freed its activations, and the next step
faults in every page of it again: on a CPU up to a third of a step (LeNet-5, batch 128: 2,200 faults). Nothing
that is computed depends on it.
"""

from __future__ import annotations

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
KEPT = 2**30
"""Bytes of free memory at the top of the heap that stay."""
LARGEST = 2**25
"""Bytes from which on a block is mapped by itself: the greatest number that glibc takes."""


@cache
def keep_freed() -> bool:
    """Keep freed memory from now on, in the whole process; False where the C library is not glibc."""
    libc = _libc()
    if libc is None:
        return False
    return bool(libc.mallopt(_TRIM_THRESHOLD, KEPT) and libc.mallopt(_MMAP_THRESHOLD, LARGEST))


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
