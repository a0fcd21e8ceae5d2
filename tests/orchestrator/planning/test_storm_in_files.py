"""500 cells, 64 trials in flight, all that a driver puts around a search, and study and ledger are files."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from unittest.mock import patch

import optuna
import pytest

from orchestrator import dispatching
from orchestrator.dispatch.observer import Observer
from orchestrator.driver import run
from orchestrator.options import Ended, Options
from orchestrator.planning.attempts import Attempts
from orchestrator.planning.job import Job, Outcome, Surroundings
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from tests.orchestrator.planning.searches import row_of, searching

CELLS, FLIGHT = 500, 64
PATIENCE = 600.0
"""Seconds that the first driver's rows are waited for."""

SPACE = {"method.steps": {"int": [1, 40]}, "batch_size": {"int": [1, 60]}}
"""2,400 cells, so that some proposals are cells that are known. TPE's asks would take as long again."""


def drive(store: Path) -> Ended:
    """A run of the search, whole but for the dispatcher."""
    sweep = searching(CELLS, search=SPACE, sampler={"name": "random", "storage": "sqlite:///study.db"})
    with patch.object(dispatching, "run_here", fly):
        return run(sweep, Options(str(store), local=True, track=False))


def fly(attempts: Attempts, around: Surroundings, observers: list[Observer]) -> None:
    """In the place of ``run_here``: one thread asks and is told, as with Tune, and each worker is another."""
    running, most = dict[Future[Outcome], Job](), 0
    with ThreadPoolExecutor(FLIGHT) as workers:
        while running or not attempts.exhausted:
            while len(running) < FLIGHT and (job := attempts.next()) is not None:
                running[workers.submit(train, job, around.store)] = job
                for observer in observers:
                    observer.started(job)
            held = {name.removesuffix(".json") for name in Store(around.store).names("claims")}
            assert held == {job.key for job in (*running.values(), *attempts.again)}
            most = max(most, len(running))
            for over in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(over)
                outcome = attempts.ended(job, over.result())
                for observer in observers:
                    (observer.again if outcome.status == "again" else observer.finished)(job, outcome)
    assert most == FLIGHT


def train(job: Job, store: str) -> Outcome:
    """A worker: one of eight dies at its first attempt, the others leave their row."""
    draws = random.Random(f"{job.key} {job.attempt}")
    time.sleep(draws.uniform(0, 2))
    if draws.random() < 1 / 8 and job.attempt == 1:
        return Outcome(job.key, "failed", "lost", "its process died")
    metrics = {"val.accuracy": 1 / (job.labels["method.steps"] + job.labels["batch_size"])}
    with open(f"{store}/trained", "a") as log:
        log.write(f"{job.key}\n")
    assert Ledger(Store(store)).write(row_of(job, metrics)), "it was done already"
    return Outcome(job.key, "completed", best=metrics, last=metrics)


def trained(store: Path) -> Counter[str]:
    """How often each key was trained."""
    return Counter((store / "trained").read_text().split())


def loose(store: Path) -> list[str]:
    """The keys of the ledger's files."""
    return sorted(path.stem for path in (store / "ledger/trials").rglob("*.parquet") if path.name[0] != ".")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # twenty writes to the disk a cell, on a machine that is shared
def test_the_cells_of_the_budget_exactly_though_the_driver_dies(tmp_path: Path) -> None:
    """Killed with 64 in flight when two fifths are done, and run again: nothing is lost, nothing double."""
    first = multiprocessing.get_context("spawn").Process(target=drive, args=(tmp_path,))
    first.start()
    ends = time.monotonic() + PATIENCE
    while len(loose(tmp_path)) < 2 * CELLS // 5 and time.monotonic() < ends and first.is_alive():
        time.sleep(0.05)
    first.kill()
    first.join()
    assert first.exitcode == -signal.SIGKILL
    done, before = loose(tmp_path), trained(tmp_path)
    assert 2 * CELLS // 5 <= len(done) < CELLS
    assert list((tmp_path / "claims").iterdir()), "what it had in flight"

    ended = drive(tmp_path)
    assert ended.exit_code == 0
    assert (ended.counts["cells"], ended.counts["done"], ended.failures) == (CELLS, CELLS, {})
    ledger, after = Ledger(Store(tmp_path)), trained(tmp_path)
    rows = ledger.read(ledger.index())
    assert len(rows) == len({row.cell for row in rows}) == CELLS
    assert loose(tmp_path) == sorted(row.key for row in rows), "a key has one row"
    assert {key: after[key] for key in done} == {key: before[key] for key in done}
    assert after.total() <= CELLS + FLIGHT, "only what was under way was trained again"
    for left in ("claims", "drivers"):
        assert list((tmp_path / left).iterdir()) == []

    trials = optuna.load_study(study_name="small", storage=f"sqlite:///{tmp_path}/study.db").trials
    assert len(trials) > CELLS, "some were proposed again"
    told = {trial.user_attrs["cell"]: trial.value for trial in trials if trial.state.name == "COMPLETE"}
    assert told == {row.cell: row.best["val.accuracy"] for row in rows}
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "FAIL"}, "none is left under way"
