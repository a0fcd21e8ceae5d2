from __future__ import annotations

from orchestrator.planning.budget import Budget
from orchestrator.planning.feed import Queue
from orchestrator.planning.job import Outcome
from tests.orchestrator.planning.test_feed import job, looking


def test_budget_of_trials() -> None:
    budget = Budget(Queue([job("a"), job("b")]), trials=1)
    assert budget.next() == job("a")
    assert budget.exhausted
    assert budget.next() is None
    assert "budget of trials" in budget.stopped


def test_a_budget_that_suffices_does_not_stop() -> None:
    budget = Budget(Queue([job("a")]), trials=1)
    budget.next()
    assert budget.exhausted
    assert budget.stopped == ""


def test_budget_of_hours() -> None:
    budget = Budget(Queue([job("a")]), hours=1e-12)
    assert budget.exhausted
    assert "hours" in budget.stopped


def test_the_first_reason_to_stop_is_kept() -> None:
    budget = Budget(Queue([job("a")]))
    budget.stop("asked")
    budget.stop("asked again")
    assert budget.stopped == "asked"
    assert budget.next() is None


def test_the_budget_counts_trials_only() -> None:
    jobs = [job("a"), job("b"), looking("ea", "a"), looking("eb", "b"), looking("ed", "d")]
    budget = Budget(Queue(jobs, done=["d"]), trials=1)
    assert budget.next() == looking("ed", "d")
    assert budget.next() == job("a")
    assert "budget of trials" in budget.stopped
    assert budget.next() is None
    assert not budget.exhausted, "the evaluation of what runs is still to come"
    budget.done(job("a"), Outcome("a", "completed"))
    assert budget.next() == looking("ea", "a")
    assert budget.exhausted
