"""The size that the simulator is for; what it costs in seconds is for ``benchmarks/simulation.py`` to say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(660)  # 10,000 rows on a disk that is shared
def test_ten_thousand_trials_on_500_slots_in_a_gigabyte() -> None:
    """In a process of its own, whose memory is the driver's; its work takes no time, so no slot waits."""
    code = (
        "import json, benchmarks.simulation as b\n"
        "b.SPEED = 0.0\n"
        "print(json.dumps(b.measure('grid', 10_000, 500)))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["statuses"]["completed"] == 10_000
    assert found["minimum"] == 20 * 1800
    assert (found["seconds"], found["delay"], found["utilisation"]) == (20 * 1800, 0, 1)
    assert found["memory"] < 2**30
