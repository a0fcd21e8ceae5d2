"""The whole examination: the driver first, then every node against it."""

from __future__ import annotations

import os
import resource
from dataclasses import replace
from pathlib import Path

from engine.errors import InputError
from orchestrator.dispatch.local import start_ray
from orchestrator.doctor import nodes as on_nodes
from orchestrator.doctor import own
from orchestrator.doctor.checks import Expected, check_disk, check_open_files, code_hash, file_of, look
from orchestrator.doctor.gpu import Gpus, check_gpus
from orchestrator.doctor.reduce import among
from orchestrator.doctor.result import Result, tried
from orchestrator.doctor.storage import WRITABLE, examined, exercise, returned_too
from orchestrator.options import Options
from orchestrator.records.provenance import versions
from orchestrator.records.store import Store
from orchestrator.sweepfile.parts import Resources
from orchestrator.sweepfile.sweep import Sweep

SECONDS = 60.0
"""A node that does not answer a question for so long is named, and the others go on."""


def examine(
    sweep: Sweep | None = None, options: Options | None = None, seconds: float = SECONDS
) -> list[Result]:
    """Check the driver and every node before a sweep; trains nothing and ends nothing that runs.

    What it writes into the store is removed again.

    Args:
        sweep: whose data, resources and checkpoints are asked for; None checks without them.
        options: of :func:`orchestrator.driver.run`: store, address, local, cpus, track, uri.
        seconds: a node that does not answer for so long is named.

    Returns:
        Findings by check and node, the driver's first.

    Raises:
        SweepError, InputError: the sweep or the store is not legal.
    """
    options = options or Options()
    store = Store(options.store)
    cells = own.cells_of(sweep)
    wanted = wanted_by(sweep)
    with examined(store) as folder:
        written = tried("store", lambda: exercise(store, folder), WRITABLE)
        results = [written]
        sound = written.status != "fail"
        if sound and store.local is not None:
            needed = own.checkpoint_bytes(sweep, store) if sweep is not None else 0
            results.append(check_disk("store disk", store.local, needed, "--store"))
        data, findings = own.check_driver_data(cells)
        results += findings
        if options.track:
            results.append(own.check_tracking(store, options.uri))
        files = tuple(file_of(path) for path in own.files_of(cells))
        place = folder if sound else ""
        expected = Expected(dict(versions()), code_hash(), store.location, place, data, files)
        if options.local:
            return results + here(expected, wanted, seconds)
        return results + cluster(expected, store, options, sweep, seconds)


def here(expected: Expected, wanted: Resources, seconds: float) -> list[Result]:
    """The checks of a node, in this process."""
    results = look(expected)
    gpus = check_gpus(Gpus(), 1 if wanted.gpus else 0)
    results += gpus
    results.append(among(2, cuda=False, host="127.0.0.1", seconds=seconds))
    count = len(Gpus().devices()) if wanted.gpus and all(r.status != "fail" for r in gpus) else 0
    if count:
        results.append(among(count, cuda=True, host="127.0.0.1", seconds=seconds))
    return [replace(result, node=on_nodes.hostname()) for result in results]


def cluster(
    expected: Expected, store: Store, options: Options, sweep: Sweep | None, seconds: float
) -> list[Result]:
    """The checks of every node, through Ray."""
    import ray

    results = [check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])]
    root = Path(__file__).parents[2]
    try:
        start_ray(options.address, options.cpus, [str(root / "orchestrator"), str(root / "engine")])
    except InputError as error:
        remedy = "`ray start --head` there, the driver's Ray and Python on it, its ports open to this machine"
        if isinstance(error.__cause__, ray.exceptions.AuthenticationError):
            remedy = "RAY_AUTH_MODE=token and the cluster's token, in RAY_AUTH_TOKEN or ~/.ray/auth_token"
        return [*results, Result("ray", "fail", f"{error.value}: {error.legal}", remedy)]
    if options.address:
        results.append(own.check_authentication(os.environ))
    found = on_nodes.living(ray.nodes())  # type: ignore[no-untyped-call]
    wanted = wanted_by(sweep)
    if sweep is not None:
        results.append(own.check_fit(wanted, [{"CPU": n.cpus, "GPU": float(n.gpus)} for n in found]))
    with on_nodes.probers(found) as actors:
        answering, findings = on_nodes.clocks(actors, seconds)
        results += findings
        answering, findings = on_nodes.ask(
            "answer", answering, lambda node: actors[node].look.remote(expected, node), seconds
        )
        ids = {node.label: node.id for node in answering}
        results += [returned_too(f, ids.get(f.node, ""), store, expected.folder) for f in findings]
        answering, findings = on_nodes.ask(
            "all-reduce (gloo)", answering, lambda node: actors[node].pair.remote(seconds), 2 * seconds
        )
        results += findings
        if wanted.workers > 1 and not wanted.gpus:
            able = {node: actors[node] for node in answering if node.cpus >= wanted.cpus}
            results += on_nodes.over_nodes(able, False, seconds)
    if sweep is None or wanted.gpus:
        results += on_nodes.examine_gpus(answering, wanted.workers, seconds)
    return results


def wanted_by(sweep: Sweep | None) -> Resources:
    """What a trial takes; one CPU where no sweep says."""
    return sweep.resources if sweep is not None else Resources()
