from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.dispatch.lock import SweepHeld, SweepLock
from orchestrator.records.store import Store

HOLD = """
import sys, time
from orchestrator.dispatch.lock import SweepLock
from orchestrator.records.store import Store
with SweepLock(Store(sys.argv[1]), "s"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_driver_is_told_who_holds_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SweepHeld, match=f"process {other.pid} on {socket.gethostname()}"):
            SweepLock(Store(tmp_path), "s").__enter__()
        with SweepLock(Store(tmp_path), "another"):
            pass
        other.kill()
        other.wait()
        with SweepLock(Store(tmp_path), "s"):  # a dead holder's lock is free at once
            assert str(os.getpid()) in (tmp_path / "sweeps/s/driver.json").read_text()


def test_a_remote_store_is_not_locked() -> None:
    with SweepLock(Store("memory://x"), "s"), SweepLock(Store("memory://x"), "s"):
        pass
