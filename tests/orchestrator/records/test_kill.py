"""Processes that write and compact are killed at any instant while another reads."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store

ROOT = Path(__file__).parents[3]


class Victim:
    """A process that writes rows or compacts, and the lines that it said."""

    def __init__(self, act: str, store: Path) -> None:
        command = [sys.executable, "-m", "tests.orchestrator.records.kill_victims", act, str(store)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self.said: list[str] = []
        self.listener = threading.Thread(target=self._listen)
        self.listener.start()

    def kill(self) -> list[str]:
        """End it by SIGKILL; the lines that it said, whole ones only."""
        self.process.kill()
        self.process.wait()
        self.listener.join()
        return self.said

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.said += [line.strip() for line in lines if line.endswith("\n")]


@pytest.mark.slow
def test_no_row_is_lost_or_doubled_by_kills(tmp_path: Path) -> None:
    pick, told, seen = random.Random(1), set[str](), set[str]()
    for _ in range(3):
        victims = {act: Victim(act, tmp_path) for act in ("write", "compact")}
        until = time.monotonic() + pick.uniform(0.5, 1.2)
        while time.monotonic() < until:
            reader = Ledger(Store(tmp_path))
            index = reader.index()
            assert seen <= set(index), "what was there once stays there"
            seen = set(index)
            rows = reader.read(index)
            assert [row.key for row in rows] == list(index)
            assert all(row.key == f"c{row.error}-0" for row in rows), "and is the row that it was"
            assert not reader.damaged
        order = pick.sample(list(victims), 2)
        for act in order:
            said = victims[act].kill()
            told |= set(said) if act == "write" else set()
        ledger = Ledger(Store(tmp_path))
        assert told <= set(ledger.index()), "what a writer was told is stored is stored"
    ledger = Ledger(Store(tmp_path))
    assert ledger.segments.names(), "the compactor did work"
    assert sorted(int(row.error) for row in ledger.read(ledger.index())) == list(range(len(ledger.index())))
