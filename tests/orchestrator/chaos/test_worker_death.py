"""Kill -9 of what trains: trials' processes at any moment, one rank of a gang. Silence is no death."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from orchestrator.dispatch import pulse
from orchestrator.driver import run
from orchestrator.options import Options
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep
from tests.orchestrator.chaos.drivers import Driver, lines, starts, sweep_file, until, verified
from tests.orchestrator.sweeps import TRIAL, breaking, scripted

pytestmark = pytest.mark.slow


def test_workers_are_killed_at_random_moments(tmp_path: Path) -> None:
    """Six kills of whichever process began a trial last; each trial goes on behind its checkpoint."""
    chance, began, went = random.Random(7), tmp_path / "began", tmp_path / "went-on"
    script = [f"log:{began}", "report:0.1", "checkpoint", f"log:{went}", "sleep:0.6", "report:0.5"]
    failures = {"retries": 9, "node": 0}
    file = sweep_file(tmp_path, {"a": script, "b": [*script[:-1], "report:0.4"]}, seeds=6, failures=failures)
    with Driver(tmp_path, "run", file, "--cpus=2") as driver:
        for kill in range(1, 7):
            until(lambda kill=kill: len(lines(went)) > kill, driver)  # type: ignore[misc]
            time.sleep(chance.uniform(0, 0.5))
            pid = int(lines(went)[-1][1])
            assert pid in {one.pid for one in driver.descendants()}, "none but our own are killed"
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert driver.wait() == 0, driver.text
    rows = verified(tmp_path, file)
    assert sum(row.attempts - 1 for row in rows) >= 4, "a kill may hit between two trials"
    for row in rows:
        assert row.history[0]["val.accuracy"] == 0.1
        assert starts(went)[row.key] <= row.attempts
    assert set(starts(began).values()) <= {1, 2}


def trained(sweep: Sweep, store: Path) -> list[Row]:
    assert run(sweep, Options(str(store), cpus=2, track=False)).exit_code == 0
    ledger = Ledger(Store(store))
    return ledger.read(sorted(ledger.index()))


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("rank", [0, 1])
def test_one_rank_of_a_gang(tmp_path: Path, rank: int) -> None:
    script = ["report:0.1", "checkpoint", f"rank:{rank}", f"kill:{tmp_path}/died", "sleep:0.1", "report:0.5"]
    (row,) = trained(scripted(script, resources={"workers": 2}), tmp_path / "store")
    assert (row.status, row.attempts) == ("completed", 2)
    assert [epoch["val.accuracy"] for epoch in row.history] == [0.1, 0.5]


@pytest.mark.usefixtures("ray_session")
def test_a_killed_trial_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """The real engine on a CPU: bit for bit, from the checkpoint of the step before."""
    killing = {"at": 17, "marker": str(tmp_path / "marker"), "name": "breaking"}
    trial = TRIAL | {"epochs": 3, "data": {"name": "digits", "train_size": 256}}
    act = "kill once, checkpoint always"
    cut, whole = [
        trained(breaking(act, trial=trial, model=killing), tmp_path / name)
        for name in ("cut", "whole")  # the marker is there the second time
    ]
    assert {row.attempts for row in cut} == {1, 2}
    assert {row.attempts for row in whole} == {1}
    assert [(row.key, row.history, row.best, row.last) for row in whole] == [
        (row.key, row.history, row.best, row.last) for row in cut
    ]
    for row in cut:
        log = (tmp_path / f"cut/logs/{row.key}.log").read_text()
        assert log.count("  epoch 1  ") == 1, "none of its epochs was trained twice"


@pytest.mark.usefixtures("ray_session")
def test_one_that_says_nothing_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than every time between two looks; and the cluster does not answer the gauge meanwhile."""
    monkeypatch.setattr(pulse, "GAUGE_SECONDS", 0.1)
    monkeypatch.setattr(pulse, "resources", lambda: time.sleep(3600))
    began = tmp_path / "began"
    sweep = scripted([f"log:{began}", "block:12", "report:0.5"], failures={"retries": 0})
    (row,) = trained(sweep, tmp_path / "store")
    assert (row.status, row.attempts) == ("completed", 1)
    assert set(starts(began).values()) == {1}
    assert psutil.pid_exists(int(lines(began)[0][1])), "its process is as warm as before"
