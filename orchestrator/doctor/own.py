"""The driver's own checks: data, room for checkpoints, MLflow, resources, Ray's authentication."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from engine.data import store as data_store
from engine.data.base import DataConfig
from engine.errors import InputError
from engine.files import data_root
from orchestrator import reporting
from orchestrator.doctor.checks import File, file_of
from orchestrator.doctor.result import Result, tried
from orchestrator.planning import preflight
from orchestrator.planning.cells import Cell
from orchestrator.planning.expand import expand
from orchestrator.planning.jobs import kept
from orchestrator.planning.plan import plan
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from orchestrator.sweepfile.parts import Resources
from orchestrator.sweepfile.sweep import Sweep

LOCK_SECONDS = 5.0
"""How long another writer of MLflow's SQLite file is waited for."""


def cells_of(sweep: Sweep | None) -> list[Cell]:
    """The cells of a sweep, or none.

    Raises:
        SweepError: a point of the sweep is not legal.
    """
    return preflight.cells_of(sweep, expand(sweep)) if sweep is not None else []


def check_driver_data(cells: Iterable[Cell]) -> tuple[tuple[File, ...], list[Result]]:
    """The data sets of cells: converted ones as files, and what is missing; nothing is converted."""
    cells, files = list(cells), []
    missing = preflight.missing_data(cells)
    results = [
        Result("data", "fail", line, "perturb data NAME fetches it into PERTURB_DATA") for line in missing
    ]
    names = []
    for config in preflight.data_of(cells):
        path = data_store.arrow_path(config)
        if not path.is_file():
            continue
        found = tried("data", lambda config=config: _opened(config), f"delete {path}")  # type: ignore[misc]
        if found.status == "ok":
            files.append(file_of(path, path.name))
            names.append(found.found)
        else:
            results.append(found)
    if cells and not results:
        rest = "" if names else "found; converted by the first run"
        results.append(Result("data", "ok", ", ".join(names) or rest))
    return tuple(files), results


def _opened(config: DataConfig) -> Result:
    """A converted data set, mapped and not read."""
    data = data_store.open_data(config, data_root())
    return Result("data", "ok", f"{config.name} {data.content[:10]}")


def files_of(cells: Iterable[Cell]) -> list[Path]:
    """Files that trials read by path and no run sends: word vectors."""
    found = {cell.trial.model.get("vectors"): None for cell in cells}
    return [Path(path) for path in found if path]


def checkpoint_bytes(sweep: Sweep, store: Store) -> float:
    """What the checkpoints still to come will take, from those of the sweep that lie in the store.

    0 where nothing tells: the sweep keeps none, or no trial of it has left one.
    """
    folder = store.folder("checkpoints")
    if folder is None or kept(sweep) == "none":
        return 0
    planned = plan(sweep, Ledger(store))
    done = [folder / job.key for job in planned.jobs if (folder / job.key).is_dir()]
    taken = [sum(file.stat().st_size for file in one.iterdir() if file.is_file()) for one in done]
    return max(taken, default=0) * float(len(planned.todo))


def check_tracking(store: Store, uri: str | None) -> Result:
    """MLflow answers, with the patience that a sweep has; its SQLite file can be written.

    A SQLite file that is not there yet is not made: one beside it is, and removed.
    """
    from orchestrator.tracking.track import trouble

    start = time.perf_counter()
    try:
        place, artifacts = reporting.tracking_place(store, uri)
    except InputError as error:
        return Result(
            "mlflow", "fail", "no tracking server is named", f"{error.name}: {error.legal}; --no-track"
        )
    remedy = "start it or mend --tracking-uri; `run --no-track` goes without, `perturb track` completes later"
    file = Path(place.removeprefix("sqlite:///")) if place.startswith("sqlite:///") else None
    try:
        if file is not None:
            _writable(file)
        if file is None or file.exists():
            _answers(place, artifacts)
    except Exception as error:  # noqa: BLE001 - the clients behind MLflow raise errors of their own
        return Result("mlflow", "fail", trouble(place, error), remedy)
    took = (time.perf_counter() - start) * 1000
    where = trouble(place, OSError("-")).removeprefix("MLflow at ").removesuffix(": -")
    return Result("mlflow", "ok", f"{where}, {took:.0f} ms")


def _writable(file: Path) -> None:
    """Take and leave the write lock of a SQLite file; of a passing one where there is none yet."""
    passing = not file.exists()
    place = file.with_name(f".doctor-{uuid4().hex[:12]}.db") if passing else file
    try:
        with closing(sqlite3.connect(place, timeout=LOCK_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if passing:
                connection.execute("CREATE TABLE t (x)")
            connection.execute("COMMIT" if passing else "ROLLBACK")
    finally:
        if passing:
            place.unlink(missing_ok=True)


def _answers(place: str, artifacts: str | None) -> None:
    from orchestrator.tracking.mlflow_store import Client

    Client(place, artifacts).mlflow.search_experiments(max_results=1)


def check_fit(wanted: Resources, nodes: Sequence[Mapping[str, float]]) -> Result:
    """The nodes can hold one trial of the sweep."""
    try:
        preflight.check_resources(wanted, nodes)
    except InputError as error:
        return Result("resources", "fail", f"{error.name}: {error.value}", f"{error.legal}; or add nodes")
    each = f"{wanted.cpus:g} CPU, {wanted.gpus:g} GPU"
    on = "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"
    return Result("resources", "ok", f"{wanted.workers} x ({each}) fit on {on}")


def check_authentication(environment: Mapping[str, str]) -> Result:
    """``RAY_AUTH_MODE`` is set on purpose; whoever reaches a cluster without tokens runs code on it."""
    mode = environment.get("RAY_AUTH_MODE", "").lower()
    if mode == "token":
        return Result("authentication", "ok", "by token")
    if mode:
        return Result("authentication", "ok", f"RAY_AUTH_MODE={mode}")
    remedy = "RAY_AUTH_MODE=token with one token on all nodes, or disabled on a network of your own"
    return Result("authentication", "warn", "RAY_AUTH_MODE is not set", remedy)
