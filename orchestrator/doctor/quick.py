"""The cheap part of the examination, which every run does: the store, disks, nodes that answer at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.errors import InputError
from engine.files import cache_folder
from orchestrator.doctor.checks import Expected, check_disk, code_hash
from orchestrator.doctor.report import troubles
from orchestrator.doctor.result import Result, tried
from orchestrator.doctor.storage import WRITABLE, examined, exercise
from orchestrator.records.provenance import versions
from orchestrator.records.store import Store

SECONDS = 5.0
"""All nodes together may take so long over a question; one that takes longer is warned of and runs on."""


class NotReady(InputError):
    """What no trial could work with; the line names the check, the node and the remedy."""

    def __init__(self, name: str, value: object, legal: str) -> None:
        ValueError.__init__(self, f"{name}: {value}; {legal}")
        self.name, self.value, self.legal = name, value, legal


def ready(store: Store, address: str | None, say: Callable[[str], None], seconds: float = SECONDS) -> None:
    """Say what is not well in a line each, and refuse only what could not work: a store out of reach.

    On this machine it writes and removes four small files. On a cluster, which must be connected, each
    node answers with its versions and its clock, and reads and writes the store.

    Args:
        store: of the run. address: of a cluster, None without one. say: takes a line.
        seconds: for the nodes.

    Raises:
        NotReady: the store cannot be written, or a node does not see it.
    """
    with examined(store) as folder:
        results = [tried("store", lambda: exercise(store, folder), WRITABLE)]
        if results[0].status != "fail" and store.local is not None:
            results.append(check_disk("store disk", store.local, 0, "--store"))
        results.append(check_disk("cache", cache_folder(), 0, "PERTURB_CACHE"))
        if address and results[0].status != "fail":
            expected = Expected(dict(versions()), code_hash(), store.location, folder)
            results += at_once(store, expected, seconds)
    refused = [r for r in results if r.status == "fail" and r.check == "store"]
    for line in troubles([r for r in results if r not in refused]):
        say(f"warning: {line.partition(': ')[2]}")
    for line in troubles(refused[1:]):
        say(line)
    if refused:
        raise NotReady(f"store: {refused[0].node}", refused[0].found, refused[0].remedy)


def at_once(store: Store, expected: Expected, seconds: float) -> Sequence[Result]:
    """What the nodes of the connected cluster answer in a few seconds; silence is a finding, no refusal."""
    import ray

    from orchestrator.doctor import nodes as on_nodes
    from orchestrator.doctor.storage import returned_too

    found = on_nodes.living(ray.nodes())  # type: ignore[no-untyped-call]
    with on_nodes.probers(found) as actors:
        answering, results = on_nodes.clocks(actors, seconds)
        answering, findings = on_nodes.ask(
            "answer", answering, lambda node: actors[node].meet.remote(expected, node), seconds
        )
        ids = {node.label: node.id for node in answering}
        return results + [returned_too(f, ids.get(f.node, ""), store, expected.folder) for f in findings]
