from __future__ import annotations

import gc
import subprocess
import sys
from typing import Any

import pytest

from orchestrator.planning.garbage import SELDOM, TRITON, USUAL, hasten, imports, settled, unsearched


def test_what_is_there_is_left_alone_for_as_long() -> None:
    before = gc.get_freeze_count()
    gc.set_threshold(*SELDOM)
    during = []

    def fails() -> None:
        with settled():
            during.append((gc.get_freeze_count(), gc.get_threshold()))
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert during[0][0] > before
    assert (during[0][1], gc.get_threshold()) == (USUAL, SELDOM)
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("block", [unsearched, imports])
@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_afterwards_as_it_was(block: Any, enabled: bool) -> None:
    def fails() -> None:
        with block():
            assert not gc.isenabled()
            raise KeyError

    try:
        if not enabled:
            gc.disable()
        with pytest.raises(KeyError):
            fails()
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
        gc.unfreeze()


def test_what_is_imported_is_left_alone_for_good() -> None:
    searched = []
    gc.callbacks.append(lambda phase, about: searched.append(phase))
    try:
        with imports():
            many: list[list[int]] = [[] for _ in range(10_000)]
        assert searched == []
        assert gc.get_freeze_count() > len(many)
    finally:
        gc.callbacks.pop()
        gc.unfreeze()


@pytest.mark.parametrize("time", ["first", "second"])
def test_what_a_command_sets_lasts_no_longer_than_its_test(time: str) -> None:
    """Whatever test runs a command in the tests' own process."""
    assert gc.get_threshold() == USUAL
    hasten()
    assert gc.get_threshold() == SELDOM


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


def test_a_command_that_has_loaded_the_compiler_ends_without_a_report_of_leaks() -> None:
    pytest.importorskip(TRITON)
    script = f"""
from orchestrator.planning.garbage import hasten
hasten()
import torchvision, sys
assert {TRITON!r} in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
