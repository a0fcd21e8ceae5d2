"""Many asks in flight against one study and one ledger: the budget's cells exactly, none twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from orchestrator.planning.search import Search
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from tests.orchestrator.planning.searches import NUMBERS, searching, storm

CASES = [
    pytest.param("tpe", 500, marks=pytest.mark.slow),
    ("tpe", 150),
    ("random", 500),
    ("qmc", 500),
    ("nsga2", 200),
    ("cmaes", 200),
]


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """In memory: what is written here is not what these tests are about, and a disk is slow."""
    return Ledger(Store(f"memory://storm/{request.node.name}"))


@pytest.fixture
def on_disk(tmp_path: Path) -> Ledger:
    return Ledger(Store(tmp_path))


def check(ledger: Ledger, cells: int) -> None:
    rows = ledger.read(ledger.index())
    assert len(rows) == len({row.cell for row in rows}) == cells


@pytest.mark.parametrize(("sampler", "cells"), CASES)
def test_64_in_flight_killed_in_the_middle(ledger: Ledger, sampler: str, cells: int) -> None:
    sweep = searching(cells, search=NUMBERS, sampler=sampler)
    first = storm(Search(sweep, ledger), ledger, flight=64, at_most=cells // 2)
    finished = set(ledger.index())
    second = storm(Search(sweep, ledger), ledger, flight=64, seed=1)
    check(ledger, cells)
    ran = [job.key for job in second]
    assert len(ran) == len(set(ran))
    assert not finished & set(ran), "what was finished is not run again"
    assert {job.key for job in first} - finished <= set(ran), "what was in flight is"


def test_a_space_of_just_the_cells_that_are_asked_for(ledger: Ledger) -> None:
    space = {"epochs": {"int": [1, 10]}, "batch_size": {"int": [1, 12]}}
    search = Search(searching(200, search=space), ledger)
    storm(search, ledger, flight=64)
    check(ledger, 120)
    assert search.used_up


STORAGES = ["sqlite:///optuna.db", "journal:///optuna.journal", "study.log"]


@pytest.mark.parametrize("storage", STORAGES)
def test_in_a_storage_killed_and_continued(on_disk: Ledger, tmp_path: Path, storage: str) -> None:
    ledger = on_disk
    sweep = searching(24, sampler={"name": "tpe", "storage": storage})
    storm(Search(sweep, ledger), ledger, flight=16, at_most=20)
    again = Search(sweep, ledger)
    states = [trial.state.name for trial in again.study.trials]
    assert states.count("RUNNING") == 16, "those in flight are taken up"
    storm(again, ledger, flight=16)
    check(ledger, 24)
    done = Search(sweep, ledger)
    assert done.exhausted
    values: dict[str, Any] = {trial.user_attrs["cell"]: trial.value for trial in done.study.trials}
    rows = {row.cell: row.best["val.accuracy"] for row in ledger.read(ledger.index())}
    assert values == rows
    assert all(trial.state.name == "COMPLETE" for trial in done.study.trials)
    seen = optuna.load_study(study_name="small", storage=_seen(storage, tmp_path))
    assert len(seen.trials) == 24
    assert seen.trials[0].user_attrs["n"] == 1


def _seen(storage: str, folder: Path) -> Any:
    """As another process opens it, such as optuna-dashboard."""
    if storage.startswith("sqlite"):
        return f"sqlite:///{folder}/optuna.db"
    name = storage.removeprefix("journal:///")
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / name)))
