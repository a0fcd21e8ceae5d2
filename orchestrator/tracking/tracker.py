"""MLflow while trials train: from the driver, in a thread of its own, never in the way of the sweep.

What an outage loses is completed from the ledger's rows, by :meth:`Tracker.complete` at the end or by
:func:`orchestrator.tracking.track.track` later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.planning.cells import Point
from orchestrator.planning.job import Job, Outcome
from orchestrator.records.row import Row
from orchestrator.reports.draw import Led
from orchestrator.reports.layout import ReportLike
from orchestrator.reports.summary import MetricLike
from orchestrator.tracking.acts import Act, Epoch, slim, tell_all
from orchestrator.tracking.book import Book
from orchestrator.tracking.mlflow_store import Client, public
from orchestrator.tracking.track import complete, trouble

PAUSE = 30.0
"""Seconds after an outage before MLflow is asked again."""

CAPACITY = 10_000
"""Epochs that wait at most; beyond it they are dropped, for the row brings them again."""

TOLD_SECONDS = 2.0
"""Least time between two transactions, each a wait for a disk or a server; what waits goes together."""

CELLS_SECONDS = 5.0
"""Least time between two updates of the cells' runs while trials go on ending."""


class Tracker:
    """Tells MLflow of trials while they train. No method raises for MLflow's sake, or waits for it.

    An outage costs one warning, which :attr:`problem` holds too; after a pause MLflow is asked again,
    and :meth:`complete` brings what was lost.

    Args:
        uri, artifact_root: see :class:`orchestrator.tracking.mlflow_store.Client`.
        name: of the sweep. points: those known beforehand. metric, seeds: what a cell is summarised by.
        rows: what the ledger holds already, so that a cell's mean counts it.

    >>> tracker = Tracker(...)  # doctest: +SKIP
    >>> tracker.started(key, cell, labels, seed=0)  # doctest: +SKIP
    >>> tracker.epoch(key, 1, {"val.accuracy": 0.9})  # doctest: +SKIP
    >>> tracker.finished(row)  # doctest: +SKIP
    >>> tracker.close(timeout=30)  # doctest: +SKIP
    True
    """

    def __init__(
        self,
        uri: str,
        artifact_root: str | None,
        name: str,
        points: Sequence[Point],
        metric: MetricLike,
        seeds: Sequence[int],
        rows: Sequence[Row] = (),
    ) -> None:
        self.problem = ""
        self._uri, self._name = uri, name
        self._open: Callable[[], Book] = lambda: Book(Client(uri, artifact_root), name, points, metric, seeds)
        self._rows: dict[str, dict[str, Row]] = {}
        for row in rows:
            self._rows.setdefault(row.cell, {})[row.key] = slim(row)
        self._stale: dict[str, None] = {}
        self._told = self._cells_told = 0.0
        self._running: set[str] = set()
        self._book: Book | None = None
        self._asleep_until = 0.0
        self._events: deque[Epoch | Act] = deque()
        self._wake = threading.Condition()
        self._closing = self._given_up = False
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def started(self, key: str, cell: str, labels: Mapping[str, Any], seed: int) -> None:
        """A trial begins, for the first time or again."""

        def act(book: Book) -> None:
            self._running.add(key)
            book.start(key, cell, labels, seed)

        self._put(Act(act, key))

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """A trial ended an epoch, counted from 1."""
        self._put(Epoch(key, epoch, dict(metrics), time.time_ns() // 1_000_000))

    def finished(self, row: Row) -> None:
        """A trial is done."""
        self.finished_as(row.key, lambda: row)

    def finished_as(self, key: str, read: Callable[[], Row | None]) -> None:
        """A trial is done; its row is read in the tracker's thread, and none waits there."""

        def act(book: Book) -> None:
            found = read()
            if found is None:
                return
            self._running.discard(key)
            self._rows.setdefault(found.cell, {})[key] = slim(found)
            self._stale[found.cell] = None
            book.finish(found)

        self._put(Act(act, key, ends=True))

    def stopped(self, key: str) -> None:
        """A trial was interrupted and has no row."""

        def act(book: Book) -> None:
            self._running.discard(key)
            book.stop(key)

        self._put(Act(act, key))

    def complete(
        self,
        points: Sequence[Point],
        rows: Sequence[Row],
        reports: Sequence[ReportLike | Led] = (),
        files: Sequence[Path] = (),
        description: str = "",
        test_selection: bool = False,
    ) -> None:
        """The sweep is over, or drained: bring everything that is missing; arguments as of :func:`track`."""

        def act(book: Book) -> None:
            complete(book, points, rows, reports, files, description, test_selection)
            self._stale.clear()

        self._put(Act(act, final=True))

    def close(self, timeout: float = 30.0) -> bool:
        """Wait for what is still to be told, at most ``timeout`` seconds.

        Returns:
            Whether MLflow has been told everything. If not, ``perturb track`` completes it.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._given_up = True
            self._warn(f"MLflow at {public(self._uri)} did not take everything within {timeout:g} s")
        return not self.problem

    def _put(self, event: Epoch | Act) -> None:
        with self._wake:
            if isinstance(event, Act) or len(self._events) < CAPACITY:
                self._events.append(event)
                self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: bool(self._events) or self._closing, self._until_cells())
                pause = self._told + TOLD_SECONDS - time.monotonic()
                self._wake.wait_for(lambda: self._closing, max(0.0, pause))
                events, closing = list(self._events), self._closing
                self._events.clear()
            if closing and not events:
                break
            self._tell(events)
            self._told = time.monotonic()
        self._tell([Act(self._stop_all)] if self._book else [])

    def _until_cells(self) -> float | None:
        """Seconds until the cells' runs shall be brought up; None where none has to."""
        return max(0.0, self._cells_told + CELLS_SECONDS - time.monotonic()) if self._stale else None

    def _tell(self, events: Sequence[Epoch | Act]) -> None:
        """Tell MLflow of some events, and of cells, or drop the events while it is away."""
        final = any(isinstance(event, Act) and event.final for event in events)
        if (
            self._given_up
            or not (events or self._stale)
            or (time.monotonic() < self._asleep_until and not final)
        ):
            return
        try:
            if self._book is None:
                self._book = self._open()
                self._book.begin()
            tell_all(self._book, events)
            if self._stale and self._until_cells() == 0:
                self._tell_cells(self._book)
            if final:
                self.problem = ""
        except Exception as error:  # noqa: BLE001  the boundary of the thread: reported, the sweep goes on
            self._book, self._asleep_until = None, time.monotonic() + PAUSE
            self._warn(trouble(self._uri, error))

    def _tell_cells(self, book: Book) -> None:
        """Bring up the cells whose trials ended; those of an outage are told after it."""
        book.each(lambda cell: book.cell(cell, list(self._rows[cell].values())), list(self._stale))
        self._stale.clear()
        self._cells_told = time.monotonic()

    def _stop_all(self, book: Book) -> None:
        self._tell_cells(book)
        for key in self._running & set(book.trials):
            book.stop(key)
        book.pause()

    def _warn(self, trouble: str) -> None:
        """Once; later trouble is only remembered."""
        known, self.problem = self.problem, trouble
        if not known:
            advice = "the sweep goes on, and `perturb track` completes the record from the ledger"
            logging.getLogger("perturb").warning("%s; %s", trouble, advice)


class Follower:
    """A tracker as a dispatcher's observer.

    Args:
        tracker: who is told. read: finds the row of a key in the ledger.
    """

    def __init__(self, tracker: Tracker, read: Callable[[str], Row | None]) -> None:
        self.tracker, self.read = tracker, read

    def started(self, job: Job) -> None:
        """A job begins; an evaluation is told when it is done."""
        if job.evaluation is not None:
            return
        self.tracker.started(job.key, job.cell, job.labels, job.seed)

    def epoch(self, job: Job, epoch: int, metrics: dict[str, float]) -> None:
        """A job ended an epoch."""
        self.tracker.epoch(job.key, epoch, metrics)

    def again(self, job: Job, outcome: Outcome) -> None:
        """A job is started once more, and takes up its run."""

    def finished(self, job: Job, outcome: Outcome) -> None:
        """A job ended, with a row or stopped; an evaluation stands in its trial's run, which has ended."""
        trial = job.key if job.evaluation is None else job.parent
        if outcome.status == "stopped":
            if job.evaluation is None:
                self.tracker.stopped(job.key)
        elif trial is not None:
            self.tracker.finished_as(trial, lambda: self.read(trial))
