from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import pytest

from orchestrator.planning.attempts import Attempts
from orchestrator.planning.budget import REQUESTED, Budget
from orchestrator.planning.feed import Queue
from orchestrator.planning.job import Job, Outcome
from orchestrator.planning.policy import Policy
from orchestrator.sweepfile.parts import Failures


def job(key: str = "k") -> Job:
    return Job(key, f"cell-{key}", 0, {})


def failed(failure: Any, key: str = "k", **about: Any) -> Outcome:
    return Outcome(key, "failed", failure, "why", **about)


def verdicts(policy: Policy, outcomes: Iterable[Outcome], widest: bool = True) -> list[bool]:
    return [policy.judge(job(outcome.key), outcome, widest).again for outcome in outcomes]


def test_a_process_that_dies_starts_again_a_few_times() -> None:
    assert verdicts(Policy(), [failed("lost")] * 4) == [True, True, False, False]
    assert verdicts(Policy(Failures(retries=0)), [failed("lost")]) == [False]


def test_a_lost_node_costs_nothing() -> None:
    policy = Policy(Failures(retries=1, lost=5))
    free = [failed("lost", free=True, node="n")] * 5
    assert verdicts(policy, free) == [True] * 5
    assert verdicts(policy, [failed("lost"), failed("lost")]) == [True, False], "counted apart"
    assert verdicts(policy, [failed("lost", free=True)]) == [False], "not for ever"
    assert not policy.excluded


def test_memory_is_widened_until_there_is_no_more() -> None:
    policy = Policy()
    verdict = policy.judge(job(), failed("out of memory"), widest=False)
    assert (verdict.again, verdict.wider) == (True, True)
    assert not policy.judge(job(), failed("out of memory"), widest=True).again


@pytest.mark.parametrize("failure", ["time-out", "cancelled", "data", "error"])
def test_what_is_recorded_at_once(failure: str) -> None:
    assert verdicts(Policy(), [failed(failure)]) == [False]


def test_a_node_is_left_out_after_failures_in_a_row() -> None:
    policy = Policy(Failures(node=3), lambda left_out: left_out != {"bad", "good"})
    broken = [failed("node", str(i), node="bad") for i in range(3)]
    assert verdicts(policy, broken[:2]) == [True, True]
    policy.judge(job("x"), Outcome("x", "completed", node="bad"))
    assert verdicts(policy, broken[:2]) == [True, True]
    assert not policy.excluded, "something worked in between"
    assert verdicts(policy, broken[2:]) == [True]
    assert policy.excluded == {"bad"}


def test_the_only_node_ends_the_sweep() -> None:
    policy = Policy(Failures(node=2), lambda left_out: "n" not in left_out)
    assert not policy.judge(job("a"), failed("node", "a", node="n")).stop
    stop = policy.judge(job("b"), failed("lost", "b", node="n")).stop
    assert "2 failures in a row on a node that the trials cannot do without" in stop
    assert not policy.excluded


def test_one_error_everywhere_ends_the_sweep() -> None:
    policy = Policy(Failures(same_error=3))
    stops = [policy.judge(job(str(i)), failed("error", str(i), place="a.py:1")).stop for i in range(3)]
    assert stops[:2] == ["", ""]
    assert stops[2] == "3 trials failed alike: why"


@pytest.mark.parametrize("where", [["a.py:1", "b.py:1", "c.py:1"], ["a.py:1"]])
def test_errors_here_and_there_do_not(where: list[str]) -> None:
    policy = Policy(Failures(same_error=3))
    for i in range(30):
        policy.judge(job(str(-i)), Outcome(str(-i), "completed"))
        place = where[i % len(where)]
        if i % 2 or len(where) > 1:
            assert not policy.judge(job(str(i)), failed("error", str(i), place=place)).stop


def test_the_same_trial_failing_again_is_one() -> None:
    policy = Policy(Failures(same_error=2))
    assert not any(policy.judge(job(), failed("error", place="a")).stop for _ in range(5))


class Told(list[str]):
    """What the user was told."""


def attempts(jobs: Iterable[Job], told: list[str] | None = None, **failures: Any) -> Attempts:
    say = (told if told is not None else []).append
    return Attempts(
        Budget(Queue(jobs)), Policy(Failures(**failures), lambda left_out: left_out != {"n", "m"}), say
    )


def test_a_job_is_given_again_with_its_attempt_counted() -> None:
    feed = attempts([job("a"), job("b")])
    first = feed.next()
    assert first is not None
    assert feed.ended(first, failed("lost", "a")).status == "again"
    assert not feed.exhausted
    again = feed.next()
    assert again is not None
    assert (again.key, again.attempt) == ("a", 2), "before the others"
    assert feed.ended(again, Outcome("a", "completed")).status == "completed"


def test_width_doubles_with_memory_alone() -> None:
    feed = attempts([job("a")], retries=5)
    for failure in ("out of memory", "lost", "out of memory"):
        given = feed.next()
        assert given is not None
        feed.ended(given, failed(failure, "a"), widest=False)
    assert feed.width["a"] == 2


def test_what_was_lost_in_a_drain_waits_for_the_next_run() -> None:
    feed = attempts([job("a"), job("b")])
    first, second = feed.next(), feed.next()
    assert first is not None
    assert second is not None
    assert feed.ended(first, failed("lost", "a")).status == "again"
    feed.stop()
    assert feed.next() is None
    assert feed.ended(second, failed("lost", "b")).status == "stopped"
    assert feed.exhausted
    assert feed.stopped == REQUESTED


def test_the_traceback_is_told_once() -> None:
    told: list[str] = []
    feed = attempts([job(str(i)) for i in range(9)], told, same_error=3)
    running = deque(feed.next() for _ in range(6))
    while running:
        given = running.popleft()
        assert given is not None
        feed.ended(given, failed("error", given.key, place="a", trace="Traceback\nValueError: why\n"))
    assert len(told) == 1
    assert told[0].splitlines()[1] == "ValueError: why"
    assert "3 trials failed alike: why" in told[0]
    assert feed.exhausted
    assert "failed alike" in feed.stopped


def test_a_node_left_out_is_told() -> None:
    told: list[str] = []
    feed = attempts([job(str(i)) for i in range(2)], told, node=2)
    for _ in range(2):
        given = feed.next()
        assert given is not None
        feed.ended(given, failed("node", given.key, node="n"))
    assert told == ["node n is left out after 2 failures in a row, the last: why"]
