"""A sweep's record in MLflow brought up to the ledger: what ``perturb track SWEEP`` does.

See :mod:`orchestrator.tracking.book` for what the runs are, :mod:`orchestrator.tracking.tracker` for
tracking while trials train.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports.draw import Led, draw
from orchestrator.reports.layout import ReportLike
from orchestrator.reports.summary import MetricLike, chosen_rows
from orchestrator.tracking.book import Book
from orchestrator.tracking.mlflow_store import Client, public
from orchestrator.tracking.record import shared_labels


class TrackingError(RuntimeError):
    """MLflow does not answer or refuses; one line, without passwords."""


def trouble(uri: str, error: Exception) -> str:
    """What is wrong with a tracking store, in one line.

    >>> trouble("http://anna:secret@host", OSError("no route to http://anna:secret@host"))
    'MLflow at http://host: no route to http://host'
    """
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"MLflow at {public(uri)}: {public(line)[:300]}"


def track(
    uri: str,
    artifact_root: str | None,
    name: str,
    points: Sequence[Point],
    rows: Sequence[Row],
    metric: MetricLike,
    seeds: Sequence[int],
    reports: Sequence[ReportLike | Led] = (),
    files: Sequence[Path] = (),
    description: str = "",
    test_selection: bool = False,
) -> None:
    """Bring a sweep's record in MLflow up to the ledger: ``perturb track SWEEP``.

    Doing it twice changes nothing the second time.

    Args:
        uri, artifact_root: see :class:`orchestrator.tracking.mlflow_store.Client`.
        name, points, rows, metric, seeds, reports, test_selection: as for
            :func:`orchestrator.reports.write_reports`. files: what that wrote. description: of the sweep.

    Raises:
        TrackingError: the tracking store does not answer or refuses.
        InputError: rows that must not stand in one table.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        book = Book(Client(uri, artifact_root), name, points, metric, seeds)
        complete(book, points, rows, reports, files, description, test_selection)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackingError(trouble(uri, error)) from error


def complete(
    book: Book,
    points: Sequence[Point],
    rows: Sequence[Row],
    reports: Sequence[ReportLike | Led] = (),
    files: Sequence[Path] = (),
    description: str = "",
    test_selection: bool = False,
) -> None:
    """Everything that a sweep's record lacks: trials, then cells, then the parent."""
    drawings = draw(book.name, points, rows, book.metric, book.seeds, reports, test_selection)
    book.labels = shared_labels(points)
    keys = list(dict.fromkeys(point.cell for point in points))
    by_cell: dict[str, list[Row]] = {key: [] for key in keys}
    chosen = chosen_rows(keys, rows, book.seeds)
    book.each(book.finish, chosen)
    for row in chosen:
        by_cell[row.cell].append(row)
    book.each(lambda cell: book.cell(cell, by_cell[cell]), by_cell)
    about = {
        "metric": f"{book.metric.checkpoint}.{book.metric.name}",
        "mode": book.metric.mode,
        "test_selection": str(test_selection).lower(),
        **({"mlflow.note.content": description} if description else {}),
    }
    book.sweep(points, rows, drawings, files, about)
