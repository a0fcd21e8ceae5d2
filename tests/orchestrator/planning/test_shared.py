from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.planning.budget import Budget
from orchestrator.planning.feed import Queue
from orchestrator.planning.job import Job, Outcome
from orchestrator.planning.shared import LOOK_SECONDS, REST, Shared
from orchestrator.records.claims import Claims
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.lease import Lease
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from tests.orchestrator.records.test_lease import elsewhere, grow_old


def job(key: str, parent: str | None = None, **changes: object) -> Job:
    return replace(Job(key, "cell", 0, {}, parent=parent), **changes)  # type: ignore[arg-type]


def looking(key: str, trial: str) -> Job:
    return job(key, trial, evaluation={"name": "e", "label": "mine"})


def row(key: str, status: str = "completed") -> Row:
    best = {"val.accuracy": 0.5}
    return Row(key, "cell", 0, status, {}, {}, best=best, timings={"total": 2.0})  # type: ignore[arg-type]


class Driver:
    """A feed over a queue, its claims, and what it heard; its clock goes on when it is asked for a job."""

    def __init__(self, lease: Lease, *jobs: Job, done: tuple[str, ...] = ()) -> None:
        self.now = 0.0
        self.heard: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.queue = Queue(jobs, done)
        self.ledger = Ledger(lease.store)
        self.feed = Shared(
            self.queue, Claims(lease), self.ledger, lambda job: job.keep != "none",
            lambda job, outcome: self.heard.append((job.key, outcome.status)), self.said.append,
            clock=lambda: self.now,
        )  # fmt: skip

    def next(self, after: float = 2 * LOOK_SECONDS) -> str | None:
        self.now += after
        found = self.feed.next()
        return found.key if found else None

    def ends(self, key: str, status: str = "completed") -> None:
        """As a worker does: the row, then the word."""
        if status != "stopped":
            self.ledger.write(row(key, status))
        self.feed.done(job(key), Outcome(key, status))  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def driver(store: Store) -> Iterator[Callable[..., Driver]]:
    leases: list[Lease] = []

    def make(*jobs: Job, done: tuple[str, ...] = ()) -> Driver:
        leases.append(Lease(store, "one" if not leases else "two").__enter__())
        return Driver(leases[-1], *jobs, done=done)

    yield make
    for lease in leases:
        lease.__exit__(None, None, None)


def test_two_drivers_share_out_the_work(driver: Callable[..., Driver]) -> None:
    jobs = [job(key) for key in "abcd"]
    one, two = driver(*jobs), driver(*jobs)
    assert [one.next(), two.next(), one.next()] == ["a", "b", "c"]
    one.ends("a")
    assert two.next() == "d"
    assert two.heard == [("a", "completed")]
    for key in "c":
        one.ends(key)
    for key in "bd":
        two.ends(key)
    assert (one.next(), two.next()) == (None, None)
    assert one.feed.exhausted
    assert two.feed.exhausted
    assert one.heard == [("b", "completed"), ("d", "completed")]
    assert two.heard == [("a", "completed"), ("c", "completed")]
    assert one.queue.finished == two.queue.finished == set("abcd")


def test_what_another_has_is_waited_for(driver: Callable[..., Driver]) -> None:
    one, two = driver(job("a")), driver(job("a"))
    assert one.next() == "a"
    for _ in range(3):
        assert two.next() is None
        assert not two.feed.exhausted
    (said,) = two.said
    assert "(sweep one) runs trials of this sweep; they are waited for, not run twice" in said
    one.ends("a")
    assert two.next() is None
    assert two.feed.exhausted


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_what_did_not_end_well_elsewhere_is_given(driver: Callable[..., Driver], status: str) -> None:
    one, two = driver(job("a")), driver(job("a"))
    one.next()
    assert two.next() is None
    one.ends("a", status)
    assert two.next() == "a"
    assert two.heard == []


def test_a_divergence_elsewhere_is_a_result(driver: Callable[..., Driver]) -> None:
    one, two = driver(job("a")), driver(job("a"), job("child", "a"))
    one.next()
    assert two.next() is None
    one.ends("a", "diverged")
    assert two.next() is None
    assert two.heard == [("a", "diverged")]
    assert two.feed.exhausted
    assert [lost.key for lost in two.queue.given_up] == ["child"]


def test_what_was_finished_since_planning_is_not_run(driver: Callable[..., Driver]) -> None:
    one, two = driver(job("a")), driver(job("a"), job("b"))
    one.next()
    one.ends("a")
    assert two.next() == "b"
    assert two.heard == [("a", "completed")]
    assert two.ledger.store.names("claims") == ["b.json"]


def test_a_dead_drivers_jobs_are_given(driver: Callable[..., Driver], store: Store) -> None:
    dead = elsewhere(store)
    store.put("claims/a.json", dead.json())
    one = driver(job("a"))
    assert one.next() is None
    grow_old(store, "drivers/other.json", 70.0)
    one.feed.claims.lease._trusted.clear()
    assert one.next() == "a"


def test_children_and_evaluations_wait_for_a_parent_elsewhere(driver: Callable[..., Driver]) -> None:
    jobs = [job("a", keep="best"), job("child", "a"), looking("ea", "a")]
    one, two = driver(job("a")), driver(*jobs)
    one.next()
    assert two.next() is None
    assert not two.feed.exhausted
    one.ledger.store.put("checkpoints/a/best.pt", b"weights")
    one.ends("a")
    assert [two.next(), two.next()] == ["ea", "child"]


def test_a_trial_whose_weights_are_needed_and_were_not_kept_is_run(driver: Callable[..., Driver]) -> None:
    one, two = driver(job("a")), driver(job("a", keep="best"), looking("ea", "a"))
    one.next()
    assert two.next() is None
    one.ends("a")
    assert two.next() == "a"


def test_an_evaluation_elsewhere_counts_under_this_sweeps_label(driver: Callable[..., Driver]) -> None:
    one = driver(looking("ea", "a"), done=("a",))
    outcomes: list[Outcome] = []
    one.feed.elsewhere = lambda job, outcome: outcomes.append(outcome)
    one.ledger.evaluations.write(
        EvaluationRow("ea", "a", "cell", 0, "best", "e", "theirs", "completed", metrics={"accuracy": 0.25})
    )
    assert one.next() is None
    assert outcomes == [
        Outcome("ea", "completed", None, "", {"mine.accuracy": 0.25}, {"mine.accuracy": 0.25})
    ]


def test_trials_elsewhere_cost_no_budget(driver: Callable[..., Driver]) -> None:
    one, two = driver(job("a")), driver(job("a"), job("b"))
    one.next()
    budget = Budget(two.feed, trials=1)
    assert budget.next() == job("b")
    assert budget.exhausted, "the trial that another has is not waited for"
    assert "budget of trials" in budget.stopped


def test_trials_that_are_done_elsewhere_do_not_use_a_budget_up(driver: Callable[..., Driver]) -> None:
    one, two = driver(job("a")), driver(job("a"), job("b"))
    one.next()
    one.ends("a")
    budget = Budget(two.feed, trials=1)
    assert budget.next() == job("b")
    assert budget.exhausted
    assert budget.stopped == ""


def test_the_end_of_trials_keeps_evaluations_that_another_runs(driver: Callable[..., Driver]) -> None:
    one = driver(looking("ea", "a"), done=("a",))
    two = driver(looking("ea", "a"), job("b"), looking("eb", "b"), done=("a",))
    other = driver(job("b"))
    assert (one.next(), other.next()) == ("ea", "b")
    assert two.next() is None
    assert two.feed.end_trials()
    assert set(two.feed.aside) == {"ea"}
    one.feed.done(looking("ea", "a"), Outcome("ea", "failed"))
    assert two.next() == "ea"
    assert two.feed.exhausted


def test_a_drain_waits_for_nobody(driver: Callable[..., Driver]) -> None:
    one, two = driver(job("a")), driver(job("a"))
    one.next()
    budget = Budget(two.feed)
    assert budget.next() is None
    assert not budget.exhausted
    budget.stop("asked")
    assert budget.exhausted


def test_a_store_that_is_away_is_waited_for(
    driver: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = driver(job("a"), job("b"))

    def away(self: Store, name: str, content: bytes) -> bool:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(Store, "create", away)
        for _ in range(3):
            assert one.next() is None
            assert not one.feed.exhausted
    assert sum("no job is given" in record.message for record in caplog.records) == 1
    assert [one.next(), one.next()] == ["a", "b"]


@pytest.mark.parametrize("refusing", ["the feed", "the claims"])
@pytest.mark.parametrize(("seconds", "pause"), [(5.0, 5.0 * REST), (0.0, LOOK_SECONDS)])
def test_a_refusal_that_takes_long_holds_the_dispatcher_up_seldom(
    driver: Callable[..., Driver],
    monkeypatch: pytest.MonkeyPatch,
    refusing: str,
    seconds: float,
    pause: float,
) -> None:
    """It asks ten times a second; from one refusal to the next question the store is left alone."""
    one, began, ended = driver(job("a"), job("b")), list[float](), list[float]()
    place, name = (one.queue, "next") if refusing == "the feed" else (one.feed.claims, "take")

    def away(*words: object) -> None:
        began.append(one.now)
        one.now += seconds
        ended.append(one.now)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(place, name, away)
        while len(began) < 4:
            assert one.next(after=0.1) is None
            assert not one.feed.exhausted
    rests = [after - before for before, after in zip(ended, began[1:], strict=False)]
    assert rests == [pytest.approx(pause, abs=0.3)] * 3
    assert one.next(after=pause - 0.3) is None, "it may be back, and is not asked"
    assert [one.next(after=0.4), one.next(after=0.1)] == ["a", "b"]
