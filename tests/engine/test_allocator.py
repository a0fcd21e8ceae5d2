"""Freed memory stays, and can be given back: seen from the faults that touching it brings."""

from __future__ import annotations

import resource

import pytest
import torch

from engine import allocator

PAGES = 2048


def faults() -> int:
    """Pages faulted in by filling 8 MiB anew."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(PAGES * 1024)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_freed_memory_stays_until_it_is_given_back() -> None:
    if not allocator.keep_freed():
        pytest.skip("the C library is not glibc")
    faults()
    assert min(faults() for _ in range(5)) < PAGES / 4
    allocator.release()
    assert faults() > PAGES / 4


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_libc", lambda: None)
    assert not allocator.keep_freed.__wrapped__()
    allocator.release()
