from __future__ import annotations

import pytest

from orchestrator.planning.feed import Queue
from orchestrator.planning.job import Job, Outcome


def job(key: str, parent: str | None = None) -> Job:
    return Job(key, "cell", 0, {}, parent=parent)


def test_a_child_waits_for_its_parent() -> None:
    child, parent, other = job("child", "parent"), job("parent"), job("other")
    queue = Queue([child, parent, other])
    assert queue.next() == parent
    assert queue.next() == other
    assert queue.next() is None
    assert not queue.exhausted
    queue.done(parent, Outcome("parent", "completed"))
    assert queue.next() == child
    assert queue.exhausted


def test_a_parent_in_the_ledger_is_not_waited_for() -> None:
    assert Queue([job("child", "parent")], done=["parent"]).next() == job("child", "parent")


@pytest.mark.parametrize("status", ["failed", "diverged", "stopped"])
def test_a_parent_without_weights_takes_its_descendants_along(status: str) -> None:
    parent, child, grandchild = job("p"), job("c", "p"), job("g", "c")
    queue = Queue([parent, child, grandchild])
    queue.next()
    queue.done(parent, Outcome("p", status))  # type: ignore[arg-type]
    assert queue.exhausted
    assert queue.given_up == [child, grandchild]


def test_a_child_of_a_trial_that_left_no_weights_before_is_given_up() -> None:
    queue = Queue([job("child", "diverged"), job("grandchild", "child"), job("other")], done=[])
    assert [one.key for one in queue.given_up] == ["child", "grandchild"]
    assert queue.next() == job("other")
    assert queue.exhausted
    assert queue.note.startswith("2 trials")


def test_added_jobs_that_wait_or_run_are_passed_over() -> None:
    queue = Queue([job("a"), job("b")])
    queue.next()
    queue.add([job("a"), job("b"), job("c")])
    assert [one.key for one in queue.waiting] == ["b", "c"]


def looking(key: str, trial: str) -> Job:
    return Job(key, "cell", 0, {}, parent=trial, evaluation={"name": "e", "label": "e"})


def test_an_evaluation_goes_before_trials_that_wait() -> None:
    one, two, three = job("a"), job("b"), job("c")
    queue = Queue([one, two, three, looking("ea", "a"), looking("ec", "c")], done=[])
    assert queue.next() == one
    assert queue.next() == two
    queue.done(one, Outcome("a", "completed"))
    assert [job.key for job in (queue.next(), queue.next()) if job] == ["ea", "c"]
    assert queue.next() is None
    assert not queue.exhausted
    queue.done(three, Outcome("c", "failed"))
    assert [job.key for job in queue.given_up] == ["ec"]
    assert queue.exhausted
    assert queue.note == "1 evaluations are of trials that left no weights, and were not run"


def test_a_failed_evaluation_takes_nothing_along() -> None:
    child, evaluation = job("child", "a"), looking("ea", "a")
    queue = Queue([child, evaluation], done=["a"])
    assert queue.next() == evaluation
    queue.done(evaluation, Outcome("ea", "failed"))
    assert queue.next() == child
    assert queue.given_up == []
