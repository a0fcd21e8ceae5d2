from __future__ import annotations

from dataclasses import dataclass

import pytest

from engine import poll
from engine.distributed import Workers
from engine.poll import Poll


@dataclass(frozen=True)
class Two(Workers):
    """Two workers that always agree."""

    size: int = 2

    def agree(self, value: int) -> int:
        return value


def listened(seconds: float, steps: int, patch: pytest.MonkeyPatch) -> list[int]:
    clock = 0.0
    patch.setattr(poll.time, "monotonic", lambda: clock)
    one, found = Poll(Two(), 0), []
    for step in range(steps):
        clock += seconds
        if one.due(step):
            found.append(step)
            one.heard(step)
    return found


def test_a_worker_alone_listens_after_each_step() -> None:
    assert all(Poll(Workers(), 3).due(step) for step in range(3, 20))


def test_quick_steps_are_heard_every_sixteenth(monkeypatch: pytest.MonkeyPatch) -> None:
    assert listened(0.001, 50, monkeypatch) == [0, 16, 32, 48]


def test_slow_steps_are_heard_every_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert listened(2.0, 8, monkeypatch) == [0, 2, 4, 6]
    assert listened(30.0, 4, monkeypatch) == [0, 1, 2, 3]
