from __future__ import annotations

import random
import time

import pytest

from orchestrator.simulation.clock import Clock
from orchestrator.simulation.result import least


def test_time_never_goes_back() -> None:
    clock = Clock()
    clock.jump(5)
    clock.jump(3)
    assert clock() == 5


def test_what_workers_do_is_not_charged_to_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    real = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: real)
    clock = Clock(speed=1000)
    real += 0.5
    with clock.worker():
        real += 2
    real += 0.25
    clock.charge()
    assert (clock.driver, clock.workers) == (0.75, 2.0)
    assert clock() == 750
    real += 1
    clock.begin()
    clock.charge()
    assert (clock.driver, clock.workers) == (0, 0)


@pytest.mark.parametrize("slots", [1, 3, 7])
def test_the_least_time_is_that_of_slots_that_never_wait(slots: int) -> None:
    """Against slots that are looked at one by one."""
    draws = random.Random(slots)
    work = [draws.uniform(1, 9) for _ in range(40)]
    free = [0.0] * slots
    for one in work:
        slot = min(range(slots), key=lambda i: free[i])
        free[slot] += one
    assert least(work, slots) == pytest.approx(max(free))
    assert least([30] * 10_000, 500) == 20 * 30
    assert least([], slots) == 0
