from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.dispatch.room import OVERHEAD, Room, held_of, kind_of
from orchestrator.planning.attempts import Attempts
from orchestrator.planning.budget import Budget
from orchestrator.planning.feed import Queue
from orchestrator.planning.job import Job, Outcome
from orchestrator.planning.policy import Policy
from orchestrator.records.row import Row
from orchestrator.sweepfile.parts import Resources

GIB = 2**30


def job(epsilon: float = 1.0, batch: int = 8, seed: int = 0) -> Job:
    form = {"batch_size": batch, "method": {"input": {"epsilon": epsilon}}, "seed": seed}
    return Job(f"{epsilon}-{batch}-{seed}", "c", seed, {}, form)


def room(most_cpus: float = 8, held: dict[str, int] | None = None, **resources: Any) -> Room:
    return Room(Resources(**resources), Attempts(Budget(Queue([])), Policy()), most_cpus, held)


def done(memory: int, capacity: int = 80 * GIB) -> Outcome:
    return Outcome("k", "completed", memory=memory, capacity=capacity)


def test_the_first_of_a_kind_measures_and_the_others_are_packed() -> None:
    here = room(gpus="auto")
    assert here.of(job())["gpus"] == 1
    here.learn(job(), done(10 * GIB - OVERHEAD))
    assert here.of(job(0.5, seed=3))["gpus"] == pytest.approx(1 / 7, abs=1e-4), "0.9 * 80 / 10"
    assert 7 * here.of(job(0.5))["gpus"] <= 1
    assert here.of(job(batch=16))["gpus"] == 1, "another kind"
    here.learn(job(), done(40 * GIB))
    assert here.of(job())["gpus"] == 1, "the most that one held"


def test_out_of_memory_unpacks() -> None:
    here = room(gpus="auto")
    here.learn(job(), done(10 * GIB - OVERHEAD))
    shares = []
    while not here.widest(job()):
        shares.append(here.of(job())["gpus"])
        here.attempts.width[job().key] += 1
    assert shares == pytest.approx([1 / 7, 2 / 7, 4 / 7], abs=1e-3)
    assert here.of(job())["gpus"] == 1


def test_a_given_share_and_whole_gpus() -> None:
    here = room(gpus=0.25)
    assert here.of(job())["gpus"] == 0.25
    here.attempts.width[job().key] = 1
    assert here.of(job())["gpus"] == 0.5
    assert room(gpus=2).of(job())["gpus"] == 2
    assert room(gpus=2).widest(job())
    assert room(gpus="auto", workers=2).of(job())["gpus"] == 1


def test_on_a_cpu_the_share_is_of_its_cores() -> None:
    here = room(cpus=1, most_cpus=3)
    assert (here.of(job())["cpus"], here.widest(job())) == (1, False)
    here.attempts.width[job().key] = 2
    assert (here.of(job())["cpus"], here.widest(job())) == (3, True)


def test_workers_share_the_cores_of_a_node() -> None:
    """Two workers on two cores cannot have more: twice as many for each would be waited for, for ever."""
    here = room(cpus=1, workers=2, most_cpus=2)
    assert (here.of(job())["cpus"], here.widest(job())) == (1, True)
    here = room(cpus=1, workers=2, most_cpus=8)
    assert not here.widest(job())
    here.attempts.width[job().key] = 5
    assert (here.of(job())["cpus"], here.widest(job())) == (4, True)
    on_two_nodes = room(cpus=2, workers=2, most_cpus=3)
    assert (on_two_nodes.of(job())["cpus"], on_two_nodes.widest(job())) == (2, True)


def test_earlier_trials_are_recalled(make_row: Callable[..., Row]) -> None:
    held = held_of([make_row(canonical=dict(job().canonical), memory=30 * GIB), make_row(memory=0)])
    here = room(gpus="auto", held=held)
    assert here.of(job())["gpus"] == 1, "how much a device has is not known yet"
    here.learn(job(batch=4), done(GIB))
    assert here.of(job())["gpus"] == 0.5


def test_kinds_differ_in_structure_only() -> None:
    assert kind_of(job(0.5, seed=1).canonical) == kind_of(job(2.0, seed=2).canonical)
    assert kind_of(job(batch=8).canonical) != kind_of(job(batch=9).canonical)


def test_nodes_to_avoid() -> None:
    here = room()
    here.attempts.policy.excluded |= {"b", "a"}
    assert here.of(job())["avoid"] == ["a", "b"]
