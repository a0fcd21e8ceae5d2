"""A real cluster of several raylets: a node that breaks every trial, one that goes away while trials run."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.chaos.drivers import Driver, cluster, lines, starts, sweep_file, until, verified

pytestmark = pytest.mark.slow

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
print(cluster.address, *(node.node_id for node in nodes), flush=True)
for order, number in map(str.split, sys.stdin):
    if order == "add":
        nodes.append(cluster.add_node(num_cpus=int(number)))
        print(nodes[-1].node_id, flush=True)
    else:
        cluster.remove_node(nodes[int(number)], allow_graceful=False)
        print("removed", flush=True)
cluster.shutdown()
"""


class Nodes:
    """A head without CPUs and three nodes with one each."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.address, *self.ids = self._answer().split()

    def remove(self, number: int) -> None:
        """Kill a node's raylet, and all that runs on it with it."""
        self._order(f"remove {number}")
        assert self._answer() == "removed\n"

    def add(self, cpus: int) -> str:
        """Another node; its id."""
        self._order(f"add {cpus}")
        self.ids.append(self._answer().strip())
        return self.ids[-1]

    def _order(self, words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{words}\n")
        self.process.stdin.flush()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with cluster(CLUSTER, tmp_path_factory.mktemp("cluster")) as process:
        yield Nodes(process)


def places(log: Path) -> list[str]:
    """Ids of the nodes where ``log`` was passed, in the order in which it was."""
    return [words[3] for words in lines(log)]


def test_a_bad_node_is_left_out(tmp_path: Path, nodes: Nodes) -> None:
    """Failures there are counted in a row; then nothing more runs there, and every trial ends elsewhere."""
    log, bad = tmp_path / "began", tmp_path / "bad"
    script = [f"log:{log}", f"on:{bad}", "disk", "sleep:0.3", "report:0.5"]
    failures = {"node": 2, "retries": 9}
    file = sweep_file(tmp_path, {"a": script, "b": [*script[:-1], "report:0.4"]}, seeds=8, failures=failures)
    with Driver(tmp_path, "run", file, "--address", nodes.address, "--no-track") as driver:
        assert driver.wait() == 0, driver.text
    culprit = bad.read_text()
    told = [line for line in driver.text.splitlines() if "is left out" in line]
    assert told == [
        f"node {culprit} is left out after 2 failures in a row, the last: "
        "[Errno 28] No space left on device: '/somewhere'"
    ]
    where = Counter(places(log))
    assert where[culprit] in (2, 3), "one may have been under way"
    assert culprit not in places(log)[-10:]
    assert where.total() == 16 + where[culprit]
    rows = verified(tmp_path, file, tracked=False)
    assert sum(row.attempts - 1 for row in rows) == where[culprit]


def test_a_sweep_that_waits_for_a_full_cluster_drains(tmp_path: Path, nodes: Nodes) -> None:
    """Another sweep has all of it, for as long as it likes; nothing of this one has begun."""
    log, (one, other) = tmp_path / "began", (tmp_path / "one", tmp_path / "other")
    for folder in (one, other):
        folder.mkdir()
    long = sweep_file(one, {"a": [f"log:{log}", "sleep:600", "report:0.5"]}, seeds=3)
    short = sweep_file(other, {"a": ["report:0.5"]}, seeds=3)
    with Driver(one, "run", long, "--address", nodes.address, "--no-track") as holds:
        until(lambda: len(lines(log)) == 3, holds)
        with Driver(other, "run", short, "--address", nodes.address, "--no-track") as waits:
            until(lambda: list((other / "results/claims").glob("*")), waits)
            waits.signal(signal.SIGTERM)
            assert waits.wait(60) == 75, waits.text
    assert "0/3 trials done, 0 failed, 3 to do" in waits.text
    assert not list((other / "results/claims").glob("*"))


def test_a_gang_is_spread_and_outlives_a_node(tmp_path: Path, nodes: Nodes) -> None:
    """Two workers do not fit on a node of one CPU; with one of the nodes gone they go on, on the others."""
    log, went = tmp_path / "began", tmp_path / "went-on"
    script = [f"log:{log}", "report:0.1", "checkpoint", f"log:{went}", "sleep:4", "report:0.5"]
    settings = {"failures": {"retries": 0, "node": 1}, "resources": {"workers": 2}}
    file = sweep_file(tmp_path, {"a": script, "b": [*script[:-1], "report:0.4"]}, **settings)
    with Driver(tmp_path, "run", file, "--address", nodes.address, "--no-track") as driver:
        until(lambda: len(lines(went)) >= 2, driver)
        first = places(went)[:2]
        assert len(set(first)) == 2, "each worker on a node of its own"
        gone = first[-1]
        nodes.remove(nodes.ids.index(gone))
        assert driver.wait() == 0, driver.text
    rows = verified(tmp_path, file, tracked=False)
    assert sorted(row.attempts for row in rows) == [1, 2]
    assert gone not in places(went)[2:]
    assert [epoch["val.accuracy"] for row in rows for epoch in row.history][::2] == [0.1, 0.1]
    assert set(starts(log).values()) == {2}, "both ranks went on behind the checkpoint"


def test_a_node_goes_while_its_trials_run(tmp_path: Path, nodes: Nodes) -> None:
    """They go on elsewhere from their checkpoints, free of charge: no failure is borne here."""
    log, went = tmp_path / "began", tmp_path / "went-on"
    script = [f"log:{log}", "report:0.1", "checkpoint", f"log:{went}", "sleep:3", "report:0.5"]
    failures = {"retries": 0, "node": 1}
    file = sweep_file(tmp_path, {"a": script, "b": [*script[:-1], "report:0.4"]}, seeds=3, failures=failures)
    with Driver(tmp_path, "run", file, "--address", nodes.address, "--no-track") as driver:
        until(lambda: lines(went), driver)
        _, _, _, place = lines(went)[0]
        nodes.remove(nodes.ids.index(place))
        lost = {words[0] for words in lines(went) if words[3] == place}
        assert driver.wait() == 0, driver.text
    rows = verified(tmp_path, file, tracked=False)
    again = {row.key for row in rows if row.attempts == 2}
    assert len(again) == 1
    assert again <= lost
    assert {row.attempts for row in rows} == {1, 2}
    assert set(starts(log).values()) == {1}, "each went on behind its checkpoint"
    assert starts(went)[again.pop()] == 2
    assert all(row.history[0]["val.accuracy"] == 0.1 for row in rows)
    assert "is left out" not in driver.text


def test_the_last_node_that_trials_fit_on_is_not_left_out(tmp_path: Path, nodes: Nodes) -> None:
    """The head lives, but has no CPU: without the bad node every trial would wait for ever."""
    file = sweep_file(tmp_path, {"a": ["disk"], "b": ["disk", "sleep:1"]}, failures={"node": 2, "retries": 9})
    with Driver(tmp_path, "run", file, "--address", nodes.address, "--no-track") as driver:
        assert driver.wait() == 1, driver.text
    assert "2 failures in a row on a node that the trials cannot do without" in driver.text


def test_a_gang_is_on_one_node_where_it_fits(tmp_path: Path, nodes: Nodes) -> None:
    """There is room for one worker elsewhere, and for both on one node: their sums cross no network."""
    log, wide = tmp_path / "began", nodes.add(2)
    file = sweep_file(tmp_path, {"a": [f"log:{log}", "report:0.5"]}, resources={"workers": 2})
    try:
        with Driver(tmp_path, "run", file, "--address", nodes.address, "--no-track") as driver:
            assert driver.wait() == 0, driver.text
    finally:
        nodes.remove(nodes.ids.index(wide))
    assert places(log) == [wide] * 2, "both ranks"
    (row,) = verified(tmp_path, file, tracked=False)
    assert row.workers == 2
