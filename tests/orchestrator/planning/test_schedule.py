from __future__ import annotations

import itertools

import pytest

from orchestrator.planning.job import Job
from orchestrator.planning.schedule import Cluster, makespan, this_machine
from orchestrator.sweepfile.parts import Resources


def job(key: str, parent: str | None = None) -> Job:
    return Job(key, "cell", 0, {}, parent=parent)


@pytest.mark.parametrize(
    ("nodes", "resources", "slots"),
    [
        (((8, 0),), {"cpus": 3}, 2),
        (((8, 2), (8, 2)), {"gpus": 0.25}, 16),
        (((8, 2), (8, 2)), {"gpus": 0.4}, 8),
        (((8, 2), (8, 2)), {"gpus": 1, "workers": 3}, 1),
        (((1, 4),), {"cpus": 1, "gpus": 1}, 1),
        (((8, 0),), {"gpus": 1}, 0),
        (((0.5, 0),), {"cpus": 0.1}, 5),
    ],
)
def test_slots(nodes: tuple[tuple[float, float], ...], resources: dict[str, float], slots: int) -> None:
    assert Cluster(nodes).slots(Resources.model_validate(resources)) == slots


def test_one_slot_takes_the_sum_and_many_the_longest() -> None:
    jobs = [job(str(i)) for i in range(5)]
    seconds = {str(i): float(i + 1) for i in range(5)}
    assert makespan(jobs, [], seconds, 1) == 15
    assert makespan(jobs, [], seconds, 5) == 5
    assert makespan([], [], {}, 2) == 0


def test_two_slots_in_order_as_by_hand() -> None:
    """3 and 4 begin; 2 at 3; 5 at 4; 1 at 5: the last ends at 9."""
    seconds = dict(zip("abcde", (3.0, 4.0, 2.0, 5.0, 1.0), strict=True))
    assert makespan([job(key) for key in "abcde"], [], seconds, 2) == 9
    best = min(
        makespan([job(key) for key in order], [], seconds, 2) for order in itertools.permutations("abcde")
    )
    assert best == 8


def test_a_child_waits_for_its_parent() -> None:
    jobs = [job("child", "parent"), job("parent"), job("other")]
    seconds = {"child": 1.0, "parent": 5.0, "other": 2.0}
    assert makespan(jobs, [], seconds, 3) == 6
    assert makespan(jobs, ["parent"], seconds | {"parent": 0.0}, 3) <= 2


def test_this_machine_as_told() -> None:
    assert this_machine(3, 1).nodes == ((3, 1),)
    assert this_machine().nodes[0][0] >= 1


def test_gpus_are_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    for visible, gpus in (("0,2", 2), ("", 0), ("-1", 0)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert this_machine().nodes[0][1] == gpus
