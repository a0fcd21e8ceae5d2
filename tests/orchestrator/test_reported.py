"""A run that finds nothing new reports nothing; anything new is reported."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import reporting
from orchestrator.driver import run
from orchestrator.options import Options
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from orchestrator.reported import Reported
from orchestrator.sweepfile.sweep import Sweep
from tests.orchestrator.sweeps import TRIAL, sweep_of


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written: reports, and MLflow."""
    found: list[str] = []
    for name in ("write", "start_tracker"):
        usual = getattr(reporting, name)

        def told(*given: Any, name: str = name, usual: Any = usual) -> Any:
            found.append(name)
            return usual(*given)

        monkeypatch.setattr(reporting, name, told)
    return found


def small(**changes: Any) -> Sweep:
    return sweep_of(trial=TRIAL | {"epochs": 1}, axes={"method.p": [0, 0.5]}, reports=[], **changes)


def again(store: Path, sweep: Sweep | None = None, track: bool = False) -> int:
    return run(sweep or small(), Options(str(store), local=True, track=track)).exit_code


def test_what_is_reported_is_not_reported_again(tmp_path: Path, written: list[str]) -> None:
    assert again(tmp_path) == 0
    assert written == ["write"]
    ended = run(small(), Options(str(tmp_path), local=True, track=False))
    assert written == ["write"]
    assert ended.report.endswith("sweeps/small/report/report.html"), "it is still named"

    (tmp_path / "sweeps/small/report/report.html").unlink()
    again(tmp_path)
    assert written == ["write"] * 2, "a page that is gone is written"
    again(tmp_path, small(description="told otherwise"))
    assert written == ["write"] * 3, "another sweep file is reported"
    again(tmp_path, small(seeds=2))
    assert written == ["write"] * 4, "so are new rows"
    again(tmp_path, small(seeds=2))
    assert written == ["write"] * 4


@pytest.mark.slow
def test_mlflow_is_told_once(tmp_path: Path, written: list[str]) -> None:
    again(tmp_path)
    again(tmp_path, track=True)
    assert written == ["write", "write", "start_tracker"], "tracking was off before"
    again(tmp_path, track=True)
    assert len(written) == 3
    (tmp_path / "mlflow.db").unlink()
    shutil.rmtree(tmp_path / "mlartifacts")
    again(tmp_path, track=True)
    assert written[3:] == ["write", "start_tracker"]
    assert (tmp_path / "mlflow.db").exists()


def test_a_digest_is_of_what_rows_say(tmp_path: Path, written: list[str]) -> None:
    again(tmp_path)
    store = Store(tmp_path)
    ledger, options = Ledger(store), Options(str(tmp_path), track=False)
    rows = ledger.read(ledger.index())
    assert Reported(small(), store, options, rows).already()
    assert Reported(small(), store, options, reversed(rows)).already(), "in any order"
    assert not Reported(small(), store, options, rows[1:]).already()
    later = [replace(rows[0], finished="later"), rows[1]]
    assert not Reported(small(), store, options, later).already()
    store.put("sweeps/small/reported", b"cut")
    assert not Reported(small(), store, options, rows).already()
