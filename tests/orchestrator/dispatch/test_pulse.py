from __future__ import annotations

import math
import threading
from pathlib import Path

import pytest

from orchestrator.dispatch import pulse as module
from orchestrator.dispatch.progress import Progress
from orchestrator.dispatch.pulse import Pulse
from orchestrator.records.store import Store
from orchestrator.sweepfile.parts import Metric


class Beats:
    """Hears of so many beats."""

    def __init__(self, count: int) -> None:
        self.left, self.all = count, threading.Event()

    def progress(self, progress: Progress) -> None:
        self.left -= 1
        if not self.left:
            self.all.set()


@pytest.mark.parametrize(("seconds", "least", "most"), [(0.0, 1, 2), (math.inf, 0, 0)])
def test_lines_come_no_sooner_than_they_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, least: int, most: int
) -> None:
    monkeypatch.setattr(module, "PLAIN_SECONDS", seconds)
    lines, beats = list[str](), Beats(2)
    told = Progress("s", {"trials": 3, "done": 1}, Metric())
    pulse = Pulse(told, Store(tmp_path), "sweeps/s/stop", lambda: None, lines.append, [beats])
    pulse.start()
    assert beats.all.wait(60)
    pulse.close()
    assert least <= len(lines) <= most, "one a beat, of which the last may not have come to it"
    assert all(line.startswith("1/3 trials  0 running") for line in lines)
