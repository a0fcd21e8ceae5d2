"""Trials that share one GPU by measured memory: a GPU that Ray counts and nobody has, of a made-up size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.chaos.drivers import Driver, cluster, lines, rows_of, sweep_file, until

pytestmark = pytest.mark.slow

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
head = {"num_cpus": 4, "num_gpus": 1, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""

SIZE = """
from orchestrator.dispatch import worker
worker.capacity = lambda gpu: 10 * 2**30 if gpu else 0
"""
"""Added to the plugin: trials say that their GPU has 10 GiB; not yet the first that a process runs."""


@pytest.fixture
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster(CLUSTER, tmp_path_factory.mktemp("cluster")) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


def together(log: Path) -> list[int]:
    """How many trials ran at each beginning, that one included; each logs its start and its end."""
    running, counts = set[str](), []
    for key, *_ in lines(log):
        if key in running:
            running.remove(key)
        else:
            running.add(key)
            counts.append(len(running))
    return counts


def beside(log: Path, again: str) -> list[int]:
    """How many trials ran with this one at each line of its second attempt, that one included."""
    running, seen, counts = set[str](), 0, []
    for key, *_ in lines(log):
        running ^= {key}
        seen += key == again
        if seen == 3:
            counts.append(len(running))
    return counts


def test_packed_as_measured_and_unpacked_when_memory_is_short(tmp_path: Path, address: str) -> None:
    """2 GB and what CUDA takes fit three times into nine tenths of 10 GiB; one that fails there gets more."""
    log, full = tmp_path / "log", tmp_path / "full"
    full.touch()
    script = ["memory:2e9", f"log:{log}", "sleep:3", f"log:{log}", f"once:{full}", "oom", "report:0.5"]
    file = sweep_file(tmp_path, {"a": script}, seeds=11, resources={"cpus": 1, "gpus": "auto"})
    with (tmp_path / "scripted.py").open("a") as plugin:
        plugin.write(SIZE)
    with Driver(tmp_path, "run", file, "--address", address, "--no-track") as driver:
        until(lambda: 3 in together(log), driver)
        full.unlink()
        assert driver.wait() == 0, driver.text
    counts, rows = together(log), rows_of(tmp_path).values()
    assert counts[0] == 1, "the first of its kind measures alone"
    assert max(counts) == 3
    assert sorted(row.attempts for row in rows) == [1] * 10 + [2]
    (again,) = (row.key for row in rows if row.attempts == 2)
    assert max(beside(log, again)) == 2, "two thirds leave room for one third"
    assert {(row.status, row.memory) for row in rows} == {("completed", 2_000_000_000)}
