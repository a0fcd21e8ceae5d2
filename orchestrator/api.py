"""The Python API: the calls behind the command line, on sweeps from files or from plain values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import reporting
from orchestrator.driver import Ended, Options, run, stop
from orchestrator.planning.plan import Plan
from orchestrator.planning.plan import plan as plan_against
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep, from_dict, load

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Ended", "Options", "Sweep", "from_dict", "load", "plan", "report", "run", "stop", "track"]


def plan(sweep: Sweep, store: str | None = None) -> Plan:
    """What a sweep would train, against what the store's ledger holds; nothing is written.

    Raises:
        SweepError: a point of the sweep is not legal.
    """
    return plan_against(sweep, Ledger(Store(store)))


def report(sweep: Sweep, store: str | None = None) -> tuple[list[Path], list[RenderableType]]:
    """Write a sweep's reports from what the ledger holds; returns the files and tables to print."""
    place = Store(store)
    points = plan(sweep, store).grid.points
    rows = reporting.rows_of(sweep, Ledger(place), points)
    return reporting.write(sweep, place, points, rows), reporting.show(sweep, points, rows)


def track(sweep: Sweep, store: str | None = None, uri: str | None = None) -> None:
    """Bring MLflow up to the ledger; what is there already is not written twice.

    Raises:
        MlflowException, OSError: the server does not answer or refuses.
    """
    place = Store(store)
    points = plan(sweep, store).grid.points
    reporting.track(sweep, place, points, reporting.rows_of(sweep, Ledger(place), points), uri)
