from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from orchestrator.planning.garbage import SELDOM, USUAL, imports, settled


def test_what_is_there_is_left_alone_for_as_long() -> None:
    before, rates = gc.get_freeze_count(), gc.get_threshold()
    gc.set_threshold(*SELDOM)
    during = []

    def fails() -> None:
        with settled():
            during.append((gc.get_freeze_count(), gc.get_threshold()))
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    after = gc.get_threshold()
    gc.set_threshold(*rates)
    assert during[0][0] > before
    assert (during[0][1], after) == (USUAL, SELDOM)
    assert gc.get_freeze_count() == 0


def test_what_is_imported_is_left_alone_for_good() -> None:
    searched = []
    gc.callbacks.append(lambda phase, about: searched.append(phase))
    try:
        with imports():
            many: list[list[int]] = [[] for _ in range(10_000)]
        assert searched == []
        assert gc.isenabled()
        assert gc.get_freeze_count() > len(many)
    finally:
        gc.callbacks.pop()
        gc.unfreeze()


def test_a_command_is_not_searched_at_its_end() -> None:
    script = """
import atexit, gc
from orchestrator.planning.garbage import hasten
atexit.register(lambda: print(gc.get_freeze_count() > 10_000))  # after those that are registered later
hasten()
print(gc.get_threshold(), gc.get_freeze_count())
many = [[] for _ in range(10_000)]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{SELDOM} 0", "True"]
