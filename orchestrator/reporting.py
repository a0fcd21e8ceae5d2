"""A sweep's reports and its record in MLflow, from what the ledger holds."""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from engine.errors import InputError
from orchestrator.planning.cells import Point
from orchestrator.planning.evaluations import attach
from orchestrator.planning.published import cells_of_published
from orchestrator.planning.sequential import seeds_asked, values_of
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.reports.summary import summarise
from orchestrator.sweepfile.checks import of_test
from orchestrator.sweepfile.parts import Report
from orchestrator.sweepfile.sweep import Sweep

if TYPE_CHECKING:
    from rich.console import RenderableType

    from orchestrator.planning.plan import Plan
    from orchestrator.reports.draw import Led
    from orchestrator.reports.sheet import Sheet
    from orchestrator.tracking.tracker import Tracker


def tracking_place(store: Store, uri: str | None) -> tuple[str, str | None]:
    """MLflow's address and artifact folder: the given server, else SQLite inside a local store.

    Raises:
        InputError: a remote store holds no SQLite file, and no server was given.
    """
    from orchestrator.tracking.mlflow_store import default_artifacts, default_uri

    if uri:
        return uri, None
    if store.local is None:
        raise InputError("MLFLOW_TRACKING_URI", "nothing", "the address of a server for a remote store")
    store.local.mkdir(parents=True, exist_ok=True)
    return default_uri(store.local), default_artifacts(store.local)


def rows_of(planned: Plan, ledger: Ledger) -> list[Row]:
    """The ledger's rows of a plan's cells, failed ones included, each with its evaluations."""
    cells = {point.cell for point in planned.grid.points}
    rows = ledger.read([job.key for job in planned.jobs if job.cell in cells], rule=planned.rule)
    return attach(rows, planned.evaluated.jobs, ledger)


def page_of(sweep: Sweep, store: Store) -> str:
    """Where a sweep's report page is."""
    return f"{store.location}/sweeps/{sweep.name}/report/report.html"


def start_tracker(
    sweep: Sweep,
    store: Store,
    points: Sequence[Point],
    seeds: Sequence[int],
    rows: Sequence[Row],
    uri: str | None,
) -> Tracker:
    """A tracker for a sweep that is about to run."""
    from orchestrator.tracking.tracker import Tracker

    place = tracking_place(store, uri)
    return Tracker(*place, sweep.name, points, sweep.metric, seeds, rows)


def write(sweep: Sweep, store: Store, points: Sequence[Point], rows: Sequence[Row]) -> list[Path]:
    """Write a sweep's reports into the store; returns the files, the page first.

    On a remote store these are local copies, which stay until the process ends.
    """
    from orchestrator.reports import write_reports

    name = f"sweeps/{sweep.name}/report"
    files = write_reports(
        store.folder(name) or _temporary(), sweep.name, sweep.description, points, rows, sweep.metric,
        seeds_asked(sweep, points, rows), reports_of(sweep), sweep.text, selects_on_test(sweep),
        sheets(sweep, points, rows),
    )  # fmt: skip
    if store.local is None:
        for file in files:
            store.put(f"{name}/{file.name}", file.read_bytes())
    return files


def _temporary() -> Path:
    folder = mkdtemp(prefix="perturb-report-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def show(sweep: Sweep, points: Sequence[Point], rows: Sequence[Row]) -> list[RenderableType]:
    """The reports as tables for the terminal."""
    from orchestrator.reports import terminal

    return terminal(
        sweep.name, points, rows, sweep.metric, seeds_asked(sweep, points, rows), reports_of(sweep),
        selects_on_test(sweep), sheets(sweep, points, rows),
    )  # fmt: skip


def sheets(sweep: Sweep, points: Sequence[Point], rows: Sequence[Row]) -> list[Sheet]:
    """Published values beside measured ones, and the race for the best, where the sweep has them."""
    from orchestrator.reports.decisions import published_sheet, race_sheet

    cells = summarise((point.cell for point in points), rows, sweep.metric, seeds_asked(sweep, points, rows))
    values = values_of(sweep, points, rows)
    found = [published_sheet(points, cells_of_published(sweep, points), sweep.published, cells, sweep.metric)]
    if sweep.sequential and sweep.sequential.decide == "best":
        found.append(race_sheet(points, values, cells, sweep.metric))
    return [sheet for sheet in found if sheet.lines]


def track(
    sweep: Sweep, store: Store, points: Sequence[Point], rows: Sequence[Row], uri: str | None = None
) -> None:
    """Bring MLflow up to the ledger; what is there already is not written twice.

    Raises:
        MlflowException, OSError: the server does not answer or refuses.
    """
    from orchestrator.tracking.track import track as complete

    files, seeds = write(sweep, store, points, rows), seeds_asked(sweep, points, rows)
    complete(
        *tracking_place(store, uri), sweep.name, points, rows, sweep.metric, seeds, reports_of(sweep),
        files, sweep.description, selects_on_test(sweep),
    )  # fmt: skip


def reports_of(sweep: Sweep) -> list[Report | Led]:
    """Those that the file asks for, and those that come of a search or of several objectives unasked."""
    from orchestrator.reports.draw import Led

    led = [Led(sweep.goals, sweep.search)] if sweep.search or sweep.objectives else []
    return [*sweep.reports, *led]


def selects_on_test(sweep: Sweep) -> bool:
    """Whether settings were chosen by a test metric, which every report then says."""
    return bool(sweep.search) and of_test(sweep)
