"""Signals around and inside a run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import driver, reporting
from orchestrator.dispatch.drain import draining, noticed
from orchestrator.driver import run
from orchestrator.options import Options
from tests.orchestrator.sweeps import sweep_of


class Ended(Exception):
    """SIGUSR1 had its default action."""


@pytest.fixture(autouse=True)
def default() -> Iterator[Any]:
    """What stands for the default action, which would end the tests."""

    def end(number: int, frame: Any) -> None:
        raise Ended

    before = signal.signal(signal.SIGUSR1, end)
    yield end
    signal.signal(signal.SIGUSR1, before)


def notice() -> None:
    os.kill(os.getpid(), signal.SIGUSR1)


def test_notice_before_the_trials_is_heard_when_they_begin(default: Any) -> None:
    heard: list[str] = []
    with noticed():
        notice()
        with draining(lambda: heard.append("drain")):
            assert heard == ["drain"]
        notice()
    assert heard == ["drain"], "there is nothing left to drain"
    assert signal.getsignal(signal.SIGUSR1) is default


def test_without_notice_nothing_is_drained() -> None:
    heard: list[str] = []
    with noticed(), draining(lambda: heard.append("drain")):
        assert not heard
        notice()
        notice()
    assert heard == ["drain", "drain"], "notice may be given more than once"


def test_a_second_interrupt_stops_at_once() -> None:
    def twice() -> None:
        with draining(lambda: None):
            notice()
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        twice()


def test_notice_while_the_report_is_written_does_not_cost_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = reporting.write

    def slowly(*about: Any) -> Any:
        notice()
        return write(*about)

    monkeypatch.setattr(reporting, "write", slowly)
    ended = run(sweep_of(), Options(str(tmp_path), local=True, track=False))
    assert ended.exit_code == 0
    assert Path(ended.report).exists()


def test_notice_before_the_first_trial_drains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "tidy", lambda ledger: notice())
    ended = run(sweep_of(), Options(str(tmp_path), local=True, track=False))
    assert (ended.exit_code, ended.counts["done"]) == (75, 0)
