"""Failures of each class, acted out by scripted trials on Ray: what is done, what is recorded."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from engine import checkpoint
from orchestrator import api
from orchestrator.dispatch import watchdog
from orchestrator.driver import run
from orchestrator.options import Ended, Options
from orchestrator.planning.job import cancel_flag
from orchestrator.planning.plan import plan
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep, from_dict
from tests.orchestrator.sweeps import TRIAL, scripted

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.slow]


def ran(sweep: Sweep, store: Path, console: Console | None = None) -> Ended:
    return run(sweep, Options(str(store), cpus=2, track=False), console)


def rows(store: Path) -> dict[str, Row]:
    """By the name of the point."""
    ledger = Ledger(Store(store))
    found = ledger.read(ledger.index())
    return {row.trial["model"]["note"]: row for row in found}


def sweep_of(scripts: dict[str, list[str]], **changes: Any) -> Sweep:
    points = {
        name: {"model": {"name": "scripted", "script": script, "note": name}}
        for name, script in scripts.items()
    }
    return scripted(points=points, **changes)


def test_each_class_has_its_policy(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    sweep = sweep_of({
        "well": ["report:0.9"],
        "dies once": ["report:0.1", "checkpoint", f"once:{tmp_path}/died", "kill", "report:0.2"],
        "dies always": [f"log:{runs}", "kill"],
        "no memory": ["oom"],
        "disk": [f"once:{tmp_path}/full", "disk", "report:0.3"],
        "diverges": ["report:0.4", "nan"],
        "raises": ["raise:a mistake"],
        "slow": ["sleep:30"],
    }, failures={"minutes": 1 / 60, "node": 0})  # fmt: skip
    ended = ran(sweep, tmp_path / "store")
    found = rows(tmp_path / "store")
    assert {name: (row.status, row.failure, row.attempts) for name, row in found.items()} == {
        "well": ("completed", None, 1),
        "dies once": ("completed", None, 2),
        "dies always": ("failed", "lost", 3),
        "no memory": ("failed", "out of memory", 2),
        "disk": ("completed", None, 2),
        "diverges": ("diverged", None, 1),
        "raises": ("failed", "error", 1),
        "slow": ("failed", "time-out", 1),
    }
    assert [epoch["val.accuracy"] for epoch in found["dies once"].history] == [0.1, 0.2]
    assert len(runs.read_text().splitlines()) == 3
    assert found["diverges"].error == "loss not finite in epoch 2"
    assert "a mistake" in found["raises"].error
    assert ended.exit_code == 1
    assert ended.failures == {"lost": 1, "out of memory": 1, "error": 1, "time-out": 1}


def test_a_code_error_ends_the_sweep_with_its_traceback_once(tmp_path: Path) -> None:
    out = StringIO()
    sweep = scripted(["raise:a mistake in the code"], seeds=40)
    ended = ran(sweep, tmp_path, Console(file=out, width=200))
    assert ended.counts["failed"] <= 4, "three are enough, and one more may run beside the third"
    assert (ended.exit_code, ended.state) == (1, "failed"), "waiting and running it again would not help"
    assert "trials failed alike: a mistake in the code" in ended.stopped
    assert out.getvalue().count("Traceback (most recent call last)") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_drains_and_the_next_run_continues(tmp_path: Path, number: int) -> None:
    runs, there = tmp_path / "runs", tmp_path / "there"
    sweep = scripted(["report:0.5", f"log:{there}", "sleep:2", f"log:{runs}", "report:0.7"], seeds=4)
    sender = threading.Thread(target=lambda: (wait_for(there), os.kill(os.getpid(), number)))
    sender.start()
    ended = ran(sweep, tmp_path / "store")
    sender.join()
    assert ended.exit_code == 75
    assert ended.stopped == "stopped on request"
    left = ended.counts["todo"]
    assert left >= 2
    assert ran(sweep, tmp_path / "store").exit_code == 0
    per_trial = Counter(line.split()[0] for line in runs.read_text().splitlines())
    assert sorted(per_trial.values()) == [1, 1, 1, 1], "each went on where it stopped"


def test_workers_drain_from_the_middle_of_an_epoch_and_end_bit_for_bit(tmp_path: Path) -> None:
    # epochs of several seconds: a request is heard within one second and 16 steps
    trial = TRIAL | {"data": {"name": "digits", "train_size": 1024}, "epochs": 2, "batch_size": 2}
    sweep = from_dict({"name": "gang", "trial": trial, "resources": {"workers": 2}})
    (job,) = plan(sweep, Ledger(Store(tmp_path / "whole"))).jobs
    log, asked = tmp_path / f"store/logs/{job.key}.log", []

    def send() -> None:
        wait_for(log, "epoch 1 ")
        time.sleep(0.3)
        asked.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    ended = ran(sweep, tmp_path / "store")
    sender.join()
    assert time.monotonic() - asked[0] < 60
    assert (ended.exit_code, ended.counts["done"]) == (75, 0)
    saved = checkpoint.load(tmp_path / f"store/checkpoints/{job.key}", job.key, torch.device("cpu"))
    assert saved is not None
    assert saved[2].epoch >= 1
    assert 0 < saved[2].step < 1024 // 2, "in the middle of an epoch"
    assert ran(sweep, tmp_path / "store").exit_code == 0
    assert ran(sweep, tmp_path / "whole").exit_code == 0
    (drained,), (whole,) = (Ledger(Store(tmp_path / name)).read([job.key]) for name in ("store", "whole"))
    assert drained.history == whole.history
    assert drained.attempts == 1, "asked for is no failure"


def test_a_trial_that_hears_nothing_is_ended_in_a_drain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "DRAIN_SECONDS", 2.0)
    there, deaf = tmp_path / "there", tmp_path / "deaf"
    sweep = scripted(["checkpoint", f"log:{there}", f"once:{deaf}", "hang", "report:0.7"])
    store = Store(tmp_path / "store")
    sender = threading.Thread(
        target=lambda: (wait_for(there), time.sleep(1), os.kill(os.getpid(), signal.SIGTERM))
    )
    sender.start()
    ended = ran(sweep, tmp_path / "store")
    sender.join()
    assert (ended.exit_code, ended.counts["failed"]) == (75, 0)
    assert not Ledger(store).index()
    assert ran(sweep, tmp_path / "store").exit_code == 0


def test_a_trial_that_hangs_beyond_its_time_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "GRACE_SECONDS", 2.0)
    sweep = sweep_of({"hangs": ["hang"], "well": ["report:0.9"]}, failures={"minutes": 0.1})
    ended = ran(sweep, tmp_path)
    assert ended.failures == {"time-out": 1}
    row = rows(tmp_path)["hangs"]
    assert (row.failure, row.attempts) == ("time-out", 1)
    assert "did not end by itself" in row.error


def test_one_trial_is_cancelled(tmp_path: Path) -> None:
    there = tmp_path / "there"
    sweep = sweep_of({"hangs": [f"log:{there}", "hang"], "well": ["report:0.9"]})
    store = Store(tmp_path / "store")
    key = plan(sweep, Ledger(store)).jobs[0].key
    place = store.location
    sender = threading.Thread(target=lambda: (wait_for(there), api.cancel("scripted", key[:12], place)))
    sender.start()
    ended = ran(sweep, tmp_path / "store")
    sender.join()
    assert ended.failures == {"cancelled": 1}
    assert rows(tmp_path / "store")["hangs"].failure == "cancelled"
    assert not store.names(cancel_flag("scripted", ""))


def test_an_old_request_to_cancel_is_not_heard(tmp_path: Path) -> None:
    """One that came too late: the trial has ended, or its driver died before it heard."""
    sweep = sweep_of({"once": ["sleep:3", "report:0.9"]})
    store = Store(tmp_path)
    store.put(cancel_flag("scripted", plan(sweep, Ledger(store)).jobs[0].key), b"")
    assert ran(sweep, tmp_path).failures == {}
    assert rows(tmp_path)["once"].status == "completed"


def test_a_worker_that_dies_behind_its_row_is_not_run_again(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    sweep = sweep_of({"unsaid": [f"log:{runs}", "checkpoint", "unsaid", "report:0.9"]}, keep="none")
    ended = ran(sweep, tmp_path / "store")
    assert (ended.exit_code, ended.counts["done"], ended.failures) == (0, 1, {})
    assert len(runs.read_text().splitlines()) == 1
    row = rows(tmp_path / "store")["unsaid"]
    assert (row.status, row.attempts) == ("completed", 1)
    assert not Store(tmp_path / "store").names("checkpoints"), "nor is its checkpoint left"


def test_warm_processes_are_kept_through_failures(tmp_path: Path) -> None:
    """Only a death costs a process: an exception, a divergence or no memory does not."""
    runs = tmp_path / "runs"
    scripts = {
        f"{i}": [f"log:{runs}", action]
        for i, action in enumerate(["report:0.5", "raise:x", "nan", "report:0.2"] * 3)
    }
    ran(sweep_of(scripts, failures={"same_error": 0}), tmp_path / "store")
    lines = runs.read_text().splitlines()
    assert len(lines) == 12
    assert len({line.split()[1] for line in lines}) <= 2


def wait_for(path: Path, text: str = "") -> None:
    ends = time.monotonic() + 120
    while time.monotonic() < ends and not (path.exists() and text in path.read_text()):
        time.sleep(0.05)
