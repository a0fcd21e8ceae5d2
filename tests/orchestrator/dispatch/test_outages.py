"""A store that fails for a while: what waits, what goes on, what is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.files import write_atomic
from orchestrator.dispatch import late, outages
from orchestrator.dispatch.late import Late
from orchestrator.dispatch.outages import failed_by, through_outages
from orchestrator.dispatch.worker import failure_class
from orchestrator.records import patience
from orchestrator.records.patience import patiently
from orchestrator.records.store import Store


def failing(times: int, error: OSError) -> tuple[Callable[[], str], list[int]]:
    calls: list[int] = []

    def act() -> str:
        calls.append(len(calls))
        if len(calls) <= times:
            raise error
        return "done"

    return act, calls


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses are noted in place of waited for."""
    paused: list[float] = []
    monkeypatch.setattr(outages.time, "sleep", paused.append)
    return paused


def test_a_trial_goes_on_when_its_store_is_back(tmp_path: Path, hasty: list[float]) -> None:
    act, calls = failing(3, OSError(28, "No space left on device", f"{tmp_path}/checkpoints/k/resume.pt"))
    assert through_outages(Store(tmp_path), act) == "done"
    assert (len(calls), hasty) == (4, [1.0, 2.0, 4.0])


def test_another_disk_is_the_trial_s_own_trouble(tmp_path: Path, hasty: list[float]) -> None:
    act, calls = failing(3, OSError(28, "No space left on device", "/tmp/elsewhere"))
    with pytest.raises(OSError, match="No space left"):
        through_outages(Store(tmp_path), act)
    assert len(calls) == 1


def test_a_store_that_stays_away_ends_the_trial(tmp_path: Path, hasty: list[float]) -> None:
    act, _ = failing(10**6, OSError(30, "Read-only file system", f"{tmp_path}/checkpoints/k"))
    with pytest.raises(OSError, match="Read-only"):
        through_outages(Store(tmp_path), act)
    assert patience.PATIENCE_SECONDS <= sum(hasty) < patience.PATIENCE_SECONDS + outages.LONGEST_PAUSE


class FromRank(OSError):
    """As Ray makes it: an OSError without a number or a name, around the rank's own."""

    def __init__(self, cause: OSError) -> None:
        super().__init__("a traceback")
        self.cause = cause


def test_the_error_of_a_rank_is_looked_into(tmp_path: Path) -> None:
    error = FromRank(OSError(28, "No space left on device", f"{tmp_path}/checkpoints/k/resume.pt"))
    assert failed_by(Store(tmp_path), error)
    assert failure_class(error) == "node"


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"resume\.pt") as caught:
        write_atomic(tmp_path / "resume.pt", b"x")
    assert failed_by(Store(tmp_path), caught.value)
    assert list(tmp_path.iterdir()) == []


def test_patience_tells_once_and_ends(hasty: list[float], caplog: pytest.LogCaptureFixture) -> None:
    act, _ = failing(5, OSError(5, "Input/output error", "f"))
    with caplog.at_level(logging.WARNING, logger="perturb"):
        assert patiently(act, "perturb") == "done"
    assert len(caplog.records) == 1
    with pytest.raises(OSError, match="error"):
        patiently(failing(1, OSError(5, "Input/output error", "f"))[0], "perturb", 0)


def test_rows_of_the_driver_are_written_in_their_order(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(late, "AGAIN_SECONDS", 0.0)
    rows, away = list[int](), True
    waiting = Late()

    def write(row: int) -> None:
        if away:
            raise OSError(30, "Read-only file system", "ledger")
        rows.append(row)

    with caplog.at_level(logging.WARNING, logger="perturb"):
        for row in range(3):
            waiting.write(lambda row=row: write(row))  # type: ignore[misc]
        waiting.look()
        waiting.look()
    assert (rows, len(caplog.records)) == ([], 1)
    away = False
    waiting.look()
    waiting.write(lambda: write(3))
    assert rows == [0, 1, 2, 3]
    away = True
    waiting.write(lambda: write(4))
    away = False
    waiting.close()
    assert rows[-1] == 4
