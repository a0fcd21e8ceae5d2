from __future__ import annotations

from pathlib import Path

import pytest

from engine.identity import trial_key
from orchestrator.planning.plan import plan, plan_with_rows
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from tests.orchestrator.sweeps import TRIAL, sweep_of


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Store(tmp_path / "store"))


def row(key: str, status: str = "completed") -> Row:
    return Row(key, "c", 0, status, {}, {})  # type: ignore[arg-type]


def test_counts_and_order(ledger: Ledger) -> None:
    planned = plan(sweep_of(seeds=2), ledger)
    assert planned.counts() == {
        "points": 4, "cells": 3, "trials": 6, "done": 0, "diverged": 0, "pruned": 0, "failed": 0,
        "todo": 6,
    }  # fmt: skip
    assert [job.seed for job in planned.jobs] == [0, 0, 0, 1, 1, 1], "the grid fills seed by seed"
    assert not (ledger.store.local or Path()).exists(), "planning writes nothing"


def test_done_and_diverged_are_not_run_again_and_failed_are(ledger: Ledger) -> None:
    jobs = plan(sweep_of(), ledger).jobs
    for job, status in zip(jobs, ("completed", "diverged", "failed"), strict=True):
        ledger.write(row(job.key, status))
    planned = plan(sweep_of(), ledger)
    assert [job.key for job in planned.todo] == [jobs[2].key]
    assert planned.counts()["done"] == 2
    assert planned.counts()["failed"] == 1


def test_more_seeds_and_values_leave_what_is_done(ledger: Ledger) -> None:
    for job in plan(sweep_of(), ledger).jobs:
        ledger.write(row(job.key))
    wider = sweep_of(seeds=2, axes={"method.epsilon": [1, 5, 9], "method.p": [0, 0.5]})
    counts = plan(wider, ledger).counts()
    assert (counts["cells"], counts["trials"], counts["done"]) == (4, 8, 3)
    assert TRIAL["data"]["train_size"] == 64
    sizes = {"method.epsilon": [1, 5], "method.p": [0, 0.5], "data.train_size": [32, 64, 128]}
    larger = plan(sweep_of(axes=sizes, reports=[]), ledger)
    counts = larger.counts()
    assert (counts["cells"], counts["trials"], counts["done"]) == (9, 9, 3)
    assert sorted(job.trial["data"]["train_size"] for job in larger.todo) == [32] * 3 + [128] * 3


def test_a_parent_comes_first_and_keeps_its_weights(ledger: Ledger) -> None:
    child = TRIAL | {"init": {"from": {"method": "standard"}, "checkpoint": "last"}}
    planned = plan(sweep_of(trial=child, axes={"method.epsilon": [1, 5]}, reports=[]), ledger)
    parent, *children = planned.jobs
    assert parent.keep == "last"
    assert [job.parent for job in children] == [parent.key] * 2
    assert parent.trial["method"] == {"name": "standard"}

    ledger.write(row(parent.key))
    assert parent.key in [job.key for job in plan(sweep_of(trial=child, reports=[]), ledger).todo], (
        "weights are gone"
    )
    ledger.store.put(f"checkpoints/{parent.key}/last.pt", b"weights")
    assert parent.key not in [job.key for job in plan(sweep_of(trial=child, reports=[]), ledger).todo]


def test_seeds_of_a_child_have_parents_of_the_same_seed(ledger: Ledger) -> None:
    child = TRIAL | {"init": {"from": {"method": "standard"}}}
    jobs = plan(sweep_of(trial=child, axes={"method.epsilon": [1]}, seeds=[3, 5], reports=[]), ledger).jobs
    by_key = {job.key: job for job in jobs}
    children = [job for job in jobs if job.parent]
    assert [by_key[job.parent or ""].seed for job in children] == [3, 5]
    assert len({job.cell for job in children}) == 1


def test_job_is_the_trial_of_its_key(ledger: Ledger) -> None:
    from engine.config import Trial

    for job in plan(sweep_of(seeds=2), ledger).jobs:
        assert trial_key(Trial.model_validate(job.trial)) == job.key


def test_jobs_say_what_their_trials_say(ledger: Ledger) -> None:
    from engine.config import Trial
    from engine.identity import canonical, cell_key, data_hash, evaluation_key
    from orchestrator.dispatch.worker import config_of

    child = TRIAL | {"init": {"from": {"method": "standard"}}}
    sweep = sweep_of(
        trial=child, seeds=[2, 9], evaluations=["clean", {"name": "pgd", "steps": 2}], reports=[]
    )
    planned = plan(sweep, ledger)
    for job in planned.jobs:
        trial = Trial.model_validate(job.trial)
        parent = trial.parent()
        assert (job.key, job.cell, job.seed) == (trial_key(trial), cell_key(trial), trial.seed)
        assert (job.canonical, job.data_hash) == (canonical(trial), data_hash(trial))
        assert job.parent == (trial_key(parent) if parent else None)
    assert len(planned.evaluated.jobs) == 12
    for job in planned.evaluated.jobs:
        trial = Trial.model_validate(job.trial)
        assert job.key == evaluation_key(trial, config_of(job))
        assert (job.cell, job.seed, job.parent) == (cell_key(trial), trial.seed, trial_key(trial))


def test_a_plan_with_rows_counts_no_damaged_one(ledger: Ledger) -> None:
    sweep = sweep_of()
    first, second, _ = plan(sweep, ledger).jobs
    for job in (first, second):
        ledger.write(row(job.key))
    ledger.store.put(f"ledger/trials/completed/{first.key}.parquet", b"PAR1")
    assert plan(sweep, ledger).counts()["done"] == 2, "no row is read"
    sound, rows = plan_with_rows(sweep, ledger)
    assert [found.key for found in rows] == [second.key]
    assert sound.counts()["done"] == 1
    assert first.key in [job.key for job in sound.todo]
    assert len(ledger.damaged) == 1


def test_a_parent_keeps_both_checkpoints_when_both_are_asked_for(ledger: Ledger) -> None:
    points = {
        "a": {"init": {"from": {"method": "standard"}, "checkpoint": "best"}},
        "b": {"init": {"from": {"method": "standard"}, "checkpoint": "last"}},
    }
    parent, *_ = plan(sweep_of(points=points, axes={"method.epsilon": [1]}, reports=[]), ledger).jobs
    assert parent.keep == "both"
    kept = plan(sweep_of(points={"a": points["a"]}, axes={}, reports=[], keep="last"), ledger).jobs[0]
    assert kept.keep == "both"


def test_grandparents_are_trained_again_when_their_weights_are_needed(ledger: Ledger) -> None:
    chain = {"init": {"from": {"method": "fgm", "init": {"from": {"method": "standard", "init": None}}}}}
    sweep = sweep_of(trial=TRIAL | chain, axes={"method.epsilon": [1]}, reports=[])
    first, second, _ = plan(sweep, ledger).jobs
    for job in (first, second):
        ledger.write(row(job.key))
    assert [job.key for job in plan(sweep, ledger).todo][:2] == [first.key, second.key]


def test_a_diverged_parent_is_not_trained_again(ledger: Ledger) -> None:
    child = TRIAL | {"init": {"from": {"method": "standard"}}}
    sweep = sweep_of(trial=child, axes={"method.epsilon": [1]}, reports=[])
    parent, _ = plan(sweep, ledger).jobs
    ledger.write(row(parent.key, "diverged"))
    assert parent.key not in [job.key for job in plan(sweep, ledger).todo]
