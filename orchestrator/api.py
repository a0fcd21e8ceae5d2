"""The Python API: the calls behind the command line, on sweeps from files or from plain values."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from engine.errors import InputError, did_you_mean
from orchestrator import reporting
from orchestrator.doctor.examine import examine
from orchestrator.driver import evaluate, run
from orchestrator.options import Ended, Options
from orchestrator.planning.evaluations import attach
from orchestrator.planning.job import cancel_flag, stop_flag
from orchestrator.planning.plan import Plan
from orchestrator.planning.plan import plan as plan_against
from orchestrator.records import export, listing, verify
from orchestrator.records.claims import claim_file
from orchestrator.records.compaction import Compacted, compact
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.lease import Holder
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row, Status
from orchestrator.records.store import Store
from orchestrator.reports.words import label_text
from orchestrator.stored import standing
from orchestrator.sweepfile.sweep import Sweep, from_dict, load

if TYPE_CHECKING:
    import pandas
    from rich.console import RenderableType

    from orchestrator.simulation.result import Simulated

__all__ = [
    "Ended", "Options", "Sweep", "cancel", "evaluate", "evaluations", "examine", "from_dict",
    "ledger_compact", "ledger_export", "ledger_row", "ledger_rows", "ledger_verify", "load", "logs",
    "plan", "report", "run", "simulate", "status", "stop", "track",
]  # fmt: skip


def plan(sweep: Sweep, store: str | None = None) -> Plan:
    """What a sweep would train, against what the store's ledger holds; nothing is written.

    Raises:
        SweepError: a point of the sweep is not legal.
    """
    return plan_against(sweep, Ledger(Store(store)))


def simulate(
    sweep: Sweep,
    slots: int,
    minutes: float = 30.0,
    like: str | None = None,
    spread: float = 0.0,
    **rates: float,
) -> Simulated:
    """How a sweep would go on simulated slots: its searcher, scheduler and policies over replayed curves.

    Nothing is trained, and no store is written but a temporary one.

    Args:
        sweep: its evaluations are left out. slots: trials that run at once.
        minutes: that a trial takes of which nothing is recorded. like: a store whose trials are replayed.
        spread: relative deviation of the minutes. rates: of attempts that end badly, by the names of
            :class:`orchestrator.simulation.curves.Rates`.

    Raises:
        SweepError: a point of the sweep is not legal.
        InputError: a number is out of its range, or the store holds nothing to replay.
    """
    from orchestrator.simulation import simulate as simulation
    from orchestrator.simulation.curves import Rates

    curves = simulation.curves_of(sweep, minutes, spread, Rates(**rates), like)
    return simulation.simulate(sweep, slots, curves)


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


def cancel(name: str, key: str, store: str | None = None) -> str:
    """Ask the driver of a sweep to end one trial; returns its key. It fails; the next run starts it.

    Raises:
        InputError: no sweep of that name runs in the store, or no trial of it whose key begins so.
    """
    place, state = Store(store), str(status(name, store)[0]["state"])
    if state != "running":
        raise InputError("sweep", repr(name), f"a sweep that runs; this one is {state}")
    found = _logged(key, store).removesuffix(".log")
    holder = Holder.parse(place.get(claim_file(found)))
    if holder is None or holder.sweep != name:
        raise InputError("key", repr(found[:12]), f"the key of a trial that {name} runs now")
    place.put(cancel_flag(name, found), b"")
    return found


def logs(key: str, store: str | None = None) -> str:
    """The log of the trial whose key begins so.

    Raises:
        InputError: no trial's key begins so, or several do.
    """
    return (Store(store).get(f"logs/{_logged(key, store)}") or b"").decode()


def _logged(key: str, store: str | None) -> str:
    """The log whose name begins so: every job that was started has one."""
    found = [name for name in Store(store).names("logs") if name.startswith(key)]
    if len(found) != 1:
        legal = f"the beginning of the key of one trial that has begun; it begins {len(found)} here"
        raise InputError("key", repr(key), legal)
    return found[0]


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


def ledger_rows(
    store: str | None = None,
    statuses: Collection[str] = (),
    sweep: Sweep | None = None,
    limit: int | None = None,
) -> list[Row]:
    """The trials that finished last, without their history, the last one first.

    Args:
        store: as everywhere. statuses: to keep to; none for all.
        sweep: to whose trials to keep; None for all. limit: how many at most; None for all.

    Raises:
        InputError: there is no such status.
    """
    for status in statuses:
        if status not in get_args(Status):
            raise InputError("status", repr(status), did_you_mean(status, list(get_args(Status))))
    keys = None if sweep is None else {job.key for job in plan(sweep, store).jobs}
    return listing.latest(Ledger(Store(store)), keys, statuses or None, limit)


def ledger_row(key: str, store: str | None = None) -> Row | EvaluationRow:
    """The trial, or else the evaluation, whose key begins so; a trial has its evaluations with it.

    Raises:
        InputError: no key begins so, or several do.
    """
    return listing.one(Ledger(Store(store)), key)


def ledger_export(
    path: str | Path, store: str | None = None, sweep: Sweep | None = None, history: bool = False
) -> int:
    """Write trials as a flat Parquet or CSV file (:func:`orchestrator.records.export.flat`).

    Args:
        path: ends in ``.parquet`` or ``.csv``. store: as everywhere.
        sweep: only its trials, with the metrics of its evaluations; None for all trials, without.
        history: a line for each epoch.

    Returns:
        the number of lines.

    Raises:
        InputError: the file cannot be written so, or there is nothing to export.
    """
    ledger = Ledger(Store(store))
    if sweep is None:
        return export.export(ledger, Path(path), ledger.index(rule=None), history)
    planned = plan(sweep, store)
    cells = {point.cell for point in planned.grid.points}
    keys = [job.key for job in planned.jobs if job.cell in cells]
    jobs = planned.evaluated.jobs
    return export.export(ledger, Path(path), keys, history, lambda rows: attach(rows, jobs, ledger))


def ledger_compact(store: str | None = None) -> Compacted:
    """Bring the ledger's loose rows together in segments, and small segments in larger ones."""
    return compact(Ledger(Store(store)))


def ledger_verify(store: str | None = None) -> verify.Verified:
    """Read all of the ledger against its checksums and keys; what is damaged is set aside."""
    return verify.verify(Ledger(Store(store)))
