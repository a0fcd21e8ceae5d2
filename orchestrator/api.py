"""The Python API: the calls behind the command line, on sweeps from files or from plain values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import InputError
from orchestrator import reporting
from orchestrator.driver import Ended, Options, evaluate, run
from orchestrator.planning.job import stop_flag
from orchestrator.planning.plan import Plan
from orchestrator.planning.plan import plan as plan_against
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from orchestrator.reports.words import label_text
from orchestrator.stored import standing
from orchestrator.sweepfile.sweep import Sweep, from_dict, load

if TYPE_CHECKING:
    import pandas
    from rich.console import RenderableType

__all__ = [
    "Ended", "Options", "Sweep", "evaluate", "evaluations", "from_dict", "load", "logs", "plan", "report",
    "run", "status", "stop", "track",
]  # fmt: skip


def plan(sweep: Sweep, store: str | None = None) -> Plan:
    """What a sweep would train, against what the store's ledger holds; nothing is written.

    Raises:
        SweepError: a point of the sweep is not legal.
    """
    return plan_against(sweep, Ledger(Store(store)))


def status(name: str | None = None, store: str | None = None) -> list[dict[str, Any]]:
    """How sweeps stand, from the store alone: what their drivers wrote last, else what the ledger holds.

    Args:
        name: of one sweep; None is all of the store.

    Raises:
        InputError: no sweep of that name has been run in the store.
    """
    place = Store(store)
    found = [standing(place, one, whole=bool(name)) for one in ([name] if name else place.names("sweeps"))]
    if name and found == [None]:
        known = ", ".join(place.names("sweeps")) or "none"
        raise InputError(
            "sweep", repr(name), f"a sweep that has been run in {place.location}; known: {known}"
        )
    return [progress for progress in found if progress is not None]


def stop(name: str, store: str | None = None) -> str:
    """Ask the driver of a sweep, wherever it runs, to drain; returns the state that it was in.

    Raises:
        InputError: no sweep of that name has been run in the store.
    """
    state = str(status(name, store)[0]["state"])
    if state in ("running", "draining"):
        Store(store).put(stop_flag(name), b"")
    return state


def logs(key: str, store: str | None = None) -> str:
    """The log of the trial whose key begins so.

    Raises:
        InputError: no trial's key begins so, or several do.
    """
    place = Store(store)
    found = [name for name in place.names("logs") if name.startswith(key)]
    if len(found) != 1:
        raise InputError("key", repr(key), f"the beginning of one trial's key; it begins {len(found)} here")
    return (place.get(f"logs/{found[0]}") or b"").decode()


def report(sweep: Sweep, store: str | None = None) -> tuple[list[Path], list[RenderableType]]:
    """Write a sweep's reports from what the ledger holds; returns the files and tables to print."""
    place, planned = Store(store), plan(sweep, store)
    points, rows = planned.grid.points, reporting.rows_of(planned, Ledger(place))
    return reporting.write(sweep, place, points, rows), reporting.show(sweep, points, rows)


def evaluations(sweep: Sweep, store: str | None = None) -> pandas.DataFrame:
    """The evaluations of a sweep's trials that the ledger holds, a line for each.

    Columns are the point's labels, then ``label`` (as the sweep calls it), ``evaluation`` (its name),
    ``checkpoint``, ``seed``, ``status``, ``examples``, ``seconds``, the keys ``cell``, ``trial`` and
    ``key``, and the evaluations' metrics; a metric that an evaluation does not have is NaN. The tables and
    the correctness of single examples are in ``Ledger(Store(store)).evaluations.read(keys)``.
    """
    import pandas

    planned, ledger = plan(sweep, store), Ledger(Store(store))
    jobs = {job.key: job for job in planned.evaluated.jobs}
    lines = [
        {**{name: label_text(value) if isinstance(value, (dict, list)) else value
            for name, value in jobs[row.key].labels.items()},
         "label": jobs[row.key].label, "evaluation": row.name, "checkpoint": row.checkpoint,
         "seed": row.seed, "status": row.status, "examples": row.examples, "seconds": row.seconds,
         "cell": row.cell, "trial": row.trial, "key": row.key, **row.metrics}
        for row in ledger.evaluations.read(jobs)
    ]  # fmt: skip
    return pandas.DataFrame(lines)


def track(sweep: Sweep, store: str | None = None, uri: str | None = None) -> None:
    """Bring MLflow up to the ledger; what is there already is not written twice.

    Raises:
        TrackingError: the server does not answer or refuses.
    """
    place, planned = Store(store), plan(sweep, store)
    points, rows = planned.grid.points, reporting.rows_of(planned, Ledger(place))
    reporting.track(sweep, place, points, rows, uri)
