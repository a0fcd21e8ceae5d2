"""Rows that the driver writes."""

from __future__ import annotations

import subprocess
import sys


def test_the_driver_needs_no_torch() -> None:
    """Half a GiB and seconds of its start: torch is for the workers."""
    code = (
        "import orchestrator.driver, orchestrator.dispatch.searcher, orchestrator.dispatch.scheduler, sys;"
        "from orchestrator.dispatch.rows import failed_row;"
        "from orchestrator.planning.job import Job, Surroundings;"
        "failed_row(Job('k', 'c', 0, {}), Surroundings('s', 'n'), 'lost', 'gone');"
        "assert 'torch' not in sys.modules"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
