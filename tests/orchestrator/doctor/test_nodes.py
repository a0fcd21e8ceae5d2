"""Every node at once, on the session's Ray: what answers, what does not, what is lost on the way."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from orchestrator.doctor import nodes
from orchestrator.doctor.nodes import Node, ask, clocks, gather, living, over_nodes, probers
from orchestrator.doctor.result import Result

ENTRY = {"Alive": True, "NodeManagerHostname": "a", "NodeManagerAddress": "10.0.0.1", "NodeID": "abcdef123"}


def test_living_nodes_have_names_of_their_own() -> None:
    table: list[dict[str, Any]] = [
        ENTRY | {"Resources": {"CPU": 4.0, "GPU": 2.0}},
        ENTRY | {"NodeID": "bbbbbbbbb", "Resources": {}},
        ENTRY | {"NodeID": "c", "NodeManagerHostname": "c", "Resources": {}},
        ENTRY | {"NodeID": "d", "Alive": False, "Resources": {}},
    ]
    assert living(table) == [
        Node("abcdef123", "a (10.0.0.1) abcdef", 4.0, 2), Node("bbbbbbbbb", "a (10.0.0.1) bbbbbb"),
        Node("c", "c (10.0.0.1)"),
    ]  # fmt: skip


@pytest.fixture
def here(ray_session: None) -> Node:
    import ray

    (node,) = living(ray.nodes())
    return node


def test_a_clock_is_read_through_a_node(here: Node) -> None:
    with probers([here]) as actors:
        answering, (result,) = clocks(actors, 60)
    assert answering == [here]
    assert (result.check, result.status, result.node) == ("clock", "ok", here.label)


def test_a_skewed_node_is_named(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's clock is put wrong in place of the node's."""
    real = time.time
    with probers([here]) as actors:
        monkeypatch.setattr(nodes.time, "time", lambda: real() - 100)
        _, (result,) = clocks(actors, 60)
    assert (result.status, result.node) == ("fail", here.label)
    assert result.found.startswith("+100.0")


def test_silence_loss_and_errors_are_findings(here: Node) -> None:
    import ray

    @ray.remote(num_cpus=0, max_retries=0)
    def act(what: str) -> list[Result]:
        if what == "hang":
            time.sleep(600)
        if what == "die":
            os._exit(1)
        if what == "raise":
            raise ModuleNotFoundError("No module named 'pyarrow'")
        return [Result("x", "ok", what)]

    cases = ("answer", "hang", "die", "raise")
    made = {Node(what, f"node-{what}"): act.remote(what) for what in cases}
    ray.wait([call for node, call in made.items() if node.id != "hang"], num_returns=3, timeout=60)
    try:
        answered, results = ask("x", list(made), lambda node: made[node], 0.2)
    finally:
        ray.cancel(made[Node("hang", "node-hang")], force=True)
    assert [node.id for node in answered] == ["answer"]
    found = {r.node: r for r in results}
    assert found["node-answer"].status == "ok"
    assert found["node-hang"].found == "no answer within 0.2 s"
    assert "was lost (WorkerCrashedError)" in found["node-die"].found
    assert found["node-raise"].found == "ModuleNotFoundError: No module named 'pyarrow'"
    assert all(found[f"node-{what}"].remedy for what in cases[1:])


def test_a_node_that_is_gone_is_named_and_the_others_go_on(here: Node) -> None:
    gone = Node("1" * 56, "gone (10.0.0.9)")
    with probers([gone, here]) as actors:
        answering, results = clocks(actors, 60)
    assert answering == [here]
    lost = next(r for r in results if r.node == gone.label)
    assert (lost.status, "was lost" in lost.found) == ("fail", True)


def test_gpus_in_use_are_a_warning(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prober that asks for what is not there waits, as behind trials that run."""
    real = nodes.gather
    monkeypatch.setattr(nodes, "gather", lambda check, calls, seconds: real(check, {}, 0))
    (result,) = nodes.examine_gpus([Node(here.id, here.label, 2.0, 1)], 1, 0.1)
    assert (result.check, result.status, result.node) == ("gpu", "warn", here.label)


def test_ranks_on_two_actors_meet(here: Node) -> None:
    """Two actors of one machine stand for two nodes."""
    twins = [here, Node(here.id, "twin")]
    with probers(twins) as actors:
        gather("x", {n: a.time.remote() for n, a in actors.items()}, 60)
        results = over_nodes(actors, False, 60)
    assert [(r.status, r.node) for r in results] == [("ok", here.label), ("ok", "twin")], results
    assert over_nodes({here: None}, False, 1) == [], "one node has nobody to meet"
