"""The searcher without Ray: what it makes of processes that die with their row written, or without."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.dispatch.room import Room
from orchestrator.dispatch.searcher import FeedSearcher
from orchestrator.dispatch.watchdog import Watchdog
from orchestrator.planning.attempts import Attempts
from orchestrator.planning.budget import Budget
from orchestrator.planning.feed import Queue
from orchestrator.planning.job import Job, Outcome, Surroundings
from orchestrator.planning.policy import Policy
from orchestrator.planning.shared import Shared
from orchestrator.records.claims import Claims
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.lease import Lease
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.parts import Failures, Resources

TRIAL = Job("a", "cell", 0, {})
EVALUATION = Job("e", "cell", 0, {}, parent="p", evaluation={"name": "e", "label": "mine"})


class Told:
    """An observer that keeps how jobs ended."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def started(self, job: Job) -> None:
        """Not of interest."""

    def epoch(self, job: Job, epoch: int, metrics: dict[str, float]) -> None:
        """Not of interest."""

    def finished(self, job: Job, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    again = finished


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


Begin = Callable[..., tuple[FeedSearcher, Told]]


@pytest.fixture
def begin(store: Store) -> Iterator[Begin]:
    """A searcher that has given a job to Tune's trial ``t``."""
    with Lease(store, "s") as lease:

        def make(job: Job, needed: bool = False) -> tuple[FeedSearcher, Told]:
            shared = Shared(Queue([job], ["p"]), Claims(lease), Ledger(store), lambda job: needed)
            attempts = Attempts(Budget(shared), Policy(Failures(retries=1)), finished=shared.finished)
            around, told = Surroundings(store.location, "s"), Told()
            room, dog = Room(Resources(), attempts), Watchdog(store, "s")
            searcher = FeedSearcher(attempts, [told], around, room, dog)
            assert isinstance(searcher.suggest("t"), dict)
            return searcher, told

        yield make


def row(status: Any) -> Row:
    return Row("a", "cell", 0, status, {}, {}, best={"val.accuracy": 0.5}, timings={"total": 2.0})


@pytest.mark.parametrize("status", ["completed", "diverged"])
def test_a_row_outlives_its_worker(begin: Begin, store: Store, status: str) -> None:
    searcher, told = begin(TRIAL)
    store.put("checkpoints/a/resume.pt", b"")
    Ledger(store).write(row(status))
    searcher.on_trial_complete("t", error=True)
    assert [(o.status, o.failure, o.best) for o in told.outcomes] == [(status, None, {"val.accuracy": 0.5})]
    assert searcher.attempts.exhausted
    assert not store.names("checkpoints")
    assert not store.names("claims")
    assert Ledger(store).index() == {"a": status}


def test_so_does_the_row_of_an_evaluation(begin: Begin, store: Store) -> None:
    searcher, told = begin(EVALUATION)
    store.put("checkpoints/e/part.pt", b"")
    found = EvaluationRow("e", "p", "cell", 0, "best", "e", "e", "completed", metrics={"accuracy": 0.25})
    Ledger(store).evaluations.write(found)
    searcher.on_trial_complete("t", error=True)
    assert [(o.status, o.best) for o in told.outcomes] == [("completed", {"mine.accuracy": 0.25})]
    assert searcher.attempts.exhausted
    assert not store.names("checkpoints")


@pytest.mark.parametrize("earlier", [None, "failed", "completed"])
def test_without_a_row_of_its_own_it_is_started_again(
    begin: Begin, store: Store, earlier: str | None
) -> None:
    """Nor does an earlier row count of a trial that is trained again for its weights."""
    if earlier is not None:
        Ledger(store).write(row(earlier))
    searcher, told = begin(TRIAL if earlier != "completed" else Job("a", "cell", 0, {}, keep="best"), True)
    store.put("checkpoints/a/best.pt", b"of half a training")
    searcher.on_trial_complete("t", error=True)
    assert [o.status for o in told.outcomes] == ["again"]
    assert isinstance(searcher.suggest("u"), dict)


def test_a_store_that_is_away_is_not_waited_for(
    begin: Begin, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    searcher, told = begin(TRIAL)
    Ledger(store).write(row("completed"))

    def away(self: Store, name: str) -> bool:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Store, "exists", away)
    searcher.on_trial_complete("t", error=True)
    assert [o.status for o in told.outcomes] == ["again"]


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    import ray

    found: list[Any] = []
    monkeypatch.setattr(ray, "kill", found.append)
    return found


RAYS: Any = SimpleNamespace(trial_id="t", temporary_state=SimpleNamespace(ray_actor="an actor"))
"""Tune's trial as it begins."""


def test_what_waited_when_the_sweep_was_stopped_does_not_begin(
    begin: Begin, store: Store, killed: list[Any]
) -> None:
    """Nobody is told of it: it is as if it had not been given."""
    searcher, told = begin(TRIAL)
    searcher.attempts.stop("enough failed")
    searcher.started("t", RAYS)
    assert killed == ["an actor"]
    searcher.on_trial_complete("t", error=True)
    assert not told.outcomes
    assert not Ledger(store).index()
    assert not store.names("claims")


def test_the_last_trial_of_a_budget_begins(store: Store, killed: list[Any]) -> None:
    with Lease(store, "s") as lease:
        jobs = [TRIAL, Job("b", "cell", 1, {})]
        attempts = Attempts(Budget(Shared(Queue(jobs), Claims(lease), Ledger(store)), trials=1), Policy())
        room, dog = Room(Resources(), attempts), Watchdog(store, "s")
        searcher = FeedSearcher(attempts, [], Surroundings(store.location, "s"), room, dog)
        assert isinstance(searcher.suggest("t"), dict)
        assert attempts.stopped == "the budget of trials is used up"
        searcher.started("t", RAYS)
        assert not killed
        assert searcher.suggest("u") is None, "it may have to be started again"


def test_what_had_begun_when_the_sweep_was_stopped_is_not_killed(begin: Begin, killed: list[Any]) -> None:
    """Tune starts a trial again that it had paused."""
    searcher, _ = begin(TRIAL)
    searcher.started("t", RAYS)
    searcher.attempts.stop("enough failed")
    searcher.started("t", RAYS)
    assert not killed


def test_a_member_of_a_population_begins_though_the_sweep_was_stopped(
    begin: Begin, killed: list[Any]
) -> None:
    """The others wait for it at the round."""
    searcher, _ = begin(replace(TRIAL, population={"members": "2"}))
    searcher.attempts.stop("enough failed")
    searcher.started("t", RAYS)
    assert not killed


@pytest.mark.parametrize("left", [False, True])
def test_what_the_scheduler_ends_is_pruned_if_it_was_not_left(begin: Begin, store: Store, left: bool) -> None:
    """A trial that is paused when the sweep is stopped is none that the rule has ended."""
    searcher, told = begin(TRIAL)
    searcher.around = replace(searcher.around, watched="val.accuracy")
    searcher.started("t", RAYS)
    searcher.heard("t", {"epoch": 1, "metrics": '{"val.accuracy": 0.5}'})
    searcher.attempts.stop()
    if left:
        searcher.leave("t")
    searcher.on_trial_complete("t")
    searcher.late.close()
    assert [outcome.status for outcome in told.outcomes] == ["stopped" if left else "pruned"]
    assert list(Ledger(store).index().values()) == ["pruned"] * (not left)


def test_the_end_of_an_attempt_that_did_not_begin_is_told_of_a_job_that_had(begin: Begin) -> None:
    searcher, told = begin(TRIAL)
    lost = Outcome(TRIAL.key, "failed", "lost", "its process died", node="here")
    searcher.started("t", RAYS)
    searcher.heard("t", {"outcome": json.dumps(vars(lost))})
    searcher.on_trial_complete("t")
    assert isinstance(searcher.suggest("u"), dict)
    searcher.attempts.stop()
    searcher.leave("u")
    searcher.on_trial_complete("u")
    assert [outcome.status for outcome in told.outcomes] == ["again", "stopped"]


@pytest.mark.parametrize("job", [TRIAL, EVALUATION], ids=["trial", "evaluation"])
def test_an_attempt_that_says_nothing_has_cost_what_it_took(begin: Begin, store: Store, job: Job) -> None:
    """Both of them, and the last one's row says so to the sweep's next run."""
    searcher, told = begin(job)
    now = 0.0
    searcher.clock, searcher.error_of = lambda: now, lambda trial: None
    silent: Any = SimpleNamespace(trial_id="t", temporary_state=SimpleNamespace(ray_actor=None))
    for attempt, took in (("t", 7.0), ("u", 36000.0)):
        searcher.started(attempt, silent)
        now += took
        searcher.on_trial_complete(attempt, error=True)
        assert (attempt == "u") or isinstance(searcher.suggest("u"), dict)
    searcher.late.close()
    assert [(o.status, o.seconds) for o in told.outcomes] == [("again", 7), ("failed", 36000)]
    ledger = Ledger(store)
    if job is TRIAL:
        assert [row.timings["total"] for row in ledger.read(["a"])] == [36000]
    else:
        assert [row.seconds for row in ledger.evaluations.read(["e"])] == [36000]


def test_hours_that_are_used_up_close_whoever_asks(store: Store) -> None:
    with Lease(store, "s") as lease:
        now = 0.0
        shared = Shared(Queue([TRIAL]), Claims(lease), Ledger(store))
        attempts = Attempts(Budget(shared, hours=1, clock=lambda: now), Policy())
        assert not attempts.closed
        now = 3601.0
        assert attempts.closed
