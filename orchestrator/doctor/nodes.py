"""The checks on every node of a Ray cluster at once: one actor pinned to each, each wait with an end.

Actors ask for no CPU, so that a cluster at work can be examined; those that look at GPUs ask for all of
their node's, and wait no longer than the others where these are in use. Only these actors are ever ended.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from engine.errors import first_line
from orchestrator.doctor.checks import Expected, check_clock, check_code, check_versions, code_hash, look
from orchestrator.doctor.gpu import Gpus, check_gpus, unoffered
from orchestrator.doctor.reduce import all_reduce, among, free_address, judged, name_of
from orchestrator.doctor.result import Result, tried
from orchestrator.doctor.storage import WRITABLE, visit
from orchestrator.records.provenance import versions

PINGS = 6
"""Of a node's clock; the one that came back first counts."""

PING_SECONDS = 2.0
"""A node that takes longer over one ping is left at those that it answered."""


@dataclass(frozen=True)
class Node:
    """A living node: Ray's id, its name for people, and what it offers."""

    id: str
    label: str
    cpus: float = 0.0
    gpus: int = 0


class Prober:
    """What runs on a node; its methods give findings, which the driver gives the node's name."""

    def time(self) -> float:
        """The node's clock, in seconds since 1970."""
        return time.time()

    def look(self, expected: Expected, node: Node) -> list[Result]:
        """All that starts nothing."""
        return look(expected) + unoffered(node.gpus) + self._visit(expected, node)

    def meet(self, expected: Expected, node: Node) -> list[Result]:
        """What takes no time: versions, code, the store."""
        results = [check_versions(versions(), expected.versions), check_code(code_hash(), expected.code)]
        return results + self._visit(expected, node)

    def pair(self, seconds: float) -> list[Result]:
        """An all-reduce of two processes on the node's CPU."""
        return [among(2, cuda=False, host=self._host(), seconds=seconds)]

    def gpus(self, promised: int, seconds: float) -> list[Result]:
        """The node's GPUs, and an all-reduce with a rank on each."""
        results = check_gpus(Gpus(), promised)
        if all(result.status != "fail" for result in results):
            results.append(among(promised, cuda=True, host=self._host(), seconds=seconds))
        return results

    def address(self) -> str:
        """A free port of the node, for ranks to meet at."""
        return free_address(self._host())

    def reduce(self, rank: int, size: int, address: str, cuda: bool, seconds: float) -> list[Result]:
        """This node's rank in an all-reduce over nodes."""
        try:
            said = f"{all_reduce(rank, size, address, cuda, seconds):.1f} ms"
        except (RuntimeError, ValueError, OSError, ImportError) as error:
            said = first_line(error)
        return [judged(f"{name_of(cuda)} over nodes", [said], f"{size} nodes")]

    def _visit(self, expected: Expected, node: Node) -> list[Result]:
        place = expected.store, expected.folder, node.id
        return [tried("store", lambda: visit(*place), WRITABLE)] if expected.folder else []

    def _host(self) -> str:
        import ray

        return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def living(table: Sequence[Mapping[str, Any]]) -> list[Node]:
    """The nodes that live, each with a name of its own. table: of ``ray.nodes()``."""
    alive = [entry for entry in table if entry["Alive"]]
    names = [f"{entry['NodeManagerHostname']} ({entry['NodeManagerAddress']})" for entry in alive]
    seen, nodes = Counter(names), []
    for entry, name in zip(alive, names, strict=True):
        label = name if seen[name] == 1 else f"{name} {entry['NodeID'][:6]}"
        has = entry["Resources"]
        nodes.append(Node(entry["NodeID"], label, has.get("CPU", 0.0), int(has.get("GPU", 0))))
    return nodes


@contextmanager
def probers(nodes: Sequence[Node], gpus: bool = False) -> Iterator[dict[Node, Any]]:
    """An actor on each node, ended with the block. gpus: it asks for all of its node's."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    actor: Any = ray.remote(Prober)
    made: dict[Node, Any] = {}
    try:
        for node in nodes:
            pinned = NodeAffinitySchedulingStrategy(node.id, soft=False)
            wanted = node.gpus if gpus else 0
            made[node] = actor.options(num_cpus=0, num_gpus=wanted, scheduling_strategy=pinned).remote()
        yield made
    finally:
        for one in made.values():
            ray.kill(one)


def gather(check: str, calls: Mapping[Node, Any], seconds: float) -> tuple[dict[Node, Any], list[Result]]:
    """What nodes answer in time, and a failure for each that does not.

    Args:
        check: what is asked. calls: references to the answers. seconds: all may take together.
    """
    import ray

    answers, lost = {}, []
    if calls:
        ray.wait(list(calls.values()), num_returns=len(calls), timeout=seconds)
    for node, call in calls.items():
        try:
            answers[node] = ray.get(call, timeout=0.5)
        except ray.exceptions.GetTimeoutError:
            remedy = "`ray status`; on the node, /tmp/ray/session_latest/logs/raylet.err"
            lost.append(Result(check, "fail", f"no answer within {seconds:g} s", remedy, node.label))
        except ray.exceptions.RayTaskError as error:
            remedy = "the same packages as the driver's in the node's image"
            lost.append(Result(check, "fail", _cause(error), remedy, node.label))
        except ray.exceptions.RayError as error:
            found = f"the node or its process was lost ({type(error).__name__})"
            remedy = "`ray status` shows whether it lives; start it again: `ray start --address HEAD:6379`"
            lost.append(Result(check, "fail", found, remedy, node.label))
    return answers, lost


def _cause(error: BaseException) -> str:
    """The last line of the traceback that Ray tells."""
    return str(error).strip().splitlines()[-1][:300]


def clocks(actors: Mapping[Node, Any], seconds: float) -> tuple[list[Node], list[Result]]:
    """The nodes that answer, and their clocks against the driver's.

    The first ping waits for the actors to start; its long way is why others follow.
    """
    import ray

    sent = time.time()
    first, results = gather("answer", {n: a.time.remote() for n, a in actors.items()}, seconds)
    received = time.time()
    for node, there in first.items():
        pings = [(sent, there, received)]
        try:
            for _ in range(PINGS):
                start = time.time()
                pings.append((start, ray.get(actors[node].time.remote(), timeout=PING_SECONDS), time.time()))
        except ray.exceptions.RayError:
            pass  # judged by those that it answered; the next call finds it lost
        results.append(replace(check_clock(pings), node=node.label))
    return list(first), results


def ask(
    check: str, nodes: Sequence[Node], call: Callable[[Node], Any], seconds: float
) -> tuple[list[Node], list[Result]]:
    """Findings of all nodes at once, named by node; and the nodes that gave any."""
    answers, results = gather(check, {node: call(node) for node in nodes}, seconds)
    named = [replace(r, node=node.label) for node, found in answers.items() for r in found]
    return list(answers), named + results


def examine_gpus(nodes: Sequence[Node], workers: int, seconds: float) -> list[Result]:
    """The GPUs of all nodes that have some, and an all-reduce over the nodes where a trial spans several."""
    having = [node for node in nodes if node.gpus]
    with probers(having, gpus=True) as actors:
        ready, _ = gather("gpu", {n: a.time.remote() for n, a in actors.items()}, seconds)
        busy = [
            Result(
                "gpu", "warn", f"not all {n.gpus} came free in {seconds:g} s", "look again when idle", n.label
            )
            for n in having
            if n not in ready
        ]
        sound, results = ask(
            "gpu", list(ready), lambda n: actors[n].gpus.remote(n.gpus, seconds), 2 * seconds
        )
        if workers > 1:
            results += over_nodes({node: actors[node] for node in sound}, True, seconds)
    return busy + results


def over_nodes(actors: Mapping[Node, Any], cuda: bool, seconds: float) -> list[Result]:
    """An all-reduce with one rank on each node; nothing where there is but one."""
    if len(actors) < 2:
        return []
    nodes, check = list(actors), f"{name_of(cuda)} over nodes"
    met, results = gather(check, {nodes[0]: actors[nodes[0]].address.remote()}, seconds)
    if not met:
        return results
    address, rank = met[nodes[0]], {node: i for i, node in enumerate(nodes)}

    def call(node: Node) -> Any:
        return actors[node].reduce.remote(rank[node], len(nodes), address, cuda, seconds)

    return ask(check, nodes, call, 2 * seconds)[1]


def hostname() -> str:
    """The name of this machine, where no Ray tells it."""
    return socket.gethostname()
