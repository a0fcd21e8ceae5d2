from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.planning.budget import Budget
from orchestrator.planning.feed import Queue
from orchestrator.planning.job import Job, Outcome
from orchestrator.planning.plan import plan
from orchestrator.planning.spending import Meter, meter_of, seconds_spent
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from tests.orchestrator.sweeps import sweep_of


def job(key: str, parent: str | None = None) -> Job:
    look = {"name": "e", "label": "e"} if parent else None
    return Job(key, "cell", 0, {}, parent=parent, evaluation=look)


def meter(limit: float, expected: float | None = None, spent: float = 0.0) -> Meter:
    """A second costs one."""
    return Meter(limit, spent, lambda job: expected, lambda seconds: seconds, expected or 0.0)


def ended(key: str, seconds: float) -> Outcome:
    return Outcome(key, "completed", seconds=seconds)


def test_no_trial_starts_that_is_expected_to_pass_the_limit() -> None:
    budget = Budget(Queue(map(job, "abcd")), meter=meter(25, expected=10))
    assert [one.key for one in (budget.next(), budget.next()) if one] == ["a", "b"]
    assert budget.next() is None, "20 are under way, and a third would make 30"
    assert not budget.exhausted, "those that run may cost less"
    budget.done(job("a"), ended("a", 4))
    assert (budget.next() or job("")).key == "c"
    budget.done(job("b"), ended("b", 10))
    assert budget.next() is None
    budget.done(job("c"), ended("c", 10))
    assert budget.next() is None
    assert budget.exhausted
    assert budget.stopped == "the budget of cost is used up: 24 of 25"


def test_what_is_unknown_is_expected_as_those_that_ended() -> None:
    budget = Budget(Queue(map(job, "abc")), meter=meter(12))
    budget.next()
    budget.done(job("a"), ended("a", 7))
    assert budget.next() is None
    assert budget.stopped


def test_a_budget_that_suffices_does_not_stop() -> None:
    budget = Budget(Queue([job("a")]), meter=meter(10, 5))
    budget.next()
    budget.done(job("a"), ended("a", 5))
    assert (budget.exhausted, budget.stopped) == (True, "")


def test_evaluations_of_what_is_done_are_paid_and_still_run() -> None:
    budget = Budget(Queue([job("a"), job("b"), job("ea", "a"), job("eb", "b")]), meter=meter(10, 8))
    assert (budget.next() or job("")).key == "a"
    budget.done(job("a"), ended("a", 8))
    assert (budget.next() or job("")).key == "ea"
    budget.done(job("ea", "a"), ended("ea", 50))
    assert budget.exhausted
    assert "58 of 10" not in budget.stopped, "said when no further trial could start"
    assert budget.stopped == "the budget of cost is used up: 8 of 10"


def test_only_evaluations_left_is_no_stop() -> None:
    budget = Budget(Queue([job("ea", "a")], done=["a"]), meter=meter(10, 5, spent=10))
    assert (budget.next() or job("")).key == "ea"
    assert budget.stopped == ""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Store(tmp_path))


def write(ledger: Ledger, job: Job, seconds: float, finished: str) -> None:
    ledger.write(Row(
        job.key, job.cell, job.seed, "completed", job.trial, {}, history=[{"epoch": 1.0}, {"epoch": 2.0}],
        timings={"train": seconds / 2, "total": seconds}, device="cpu (x)", finished=finished,
    ))  # fmt: skip


def test_earlier_runs_count_and_rows_from_before_them_do_not(ledger: Ledger) -> None:
    sweep = sweep_of(budget={"cost": 10, "price": {"cpu_hour": 3600}}, resources={"cpus": 2})
    first, second, _ = plan(sweep, ledger).jobs
    write(ledger, first, 2.0, "2026-01-01T10:00:00+00:00")
    assert seconds_spent(sweep, plan(sweep, ledger), ledger) == 0, "another sweep's"
    ledger.store.put(f"sweeps/{sweep.name}/runs/2026-01-01T120000+0000.yaml", b"")
    write(ledger, second, 3.0, "2026-01-01T12:00:05+00:00")
    found = meter_of(sweep, plan(sweep, ledger), ledger)
    assert found is not None
    assert found.spent == pytest.approx(6), "3 s on two CPUs, at one a second"
    assert found.typical > 0
    assert found.affords is (6 + found.typical <= 10)
    assert meter_of(sweep_of(), plan(sweep_of(), ledger), ledger) is None
