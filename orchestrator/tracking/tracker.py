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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.planning.cells import Point
from orchestrator.planning.job import Job, Outcome
from orchestrator.records.row import Row
from orchestrator.reports.draw import Led
from orchestrator.reports.layout import ReportLike
from orchestrator.reports.summary import MetricLike
from orchestrator.tracking.book import Book
from orchestrator.tracking.mlflow_store import Client, public
from orchestrator.tracking.track import complete, trouble

PAUSE = 30.0
"""Seconds after an outage before MLflow is asked again."""

CAPACITY = 10_000
"""Epochs that wait at most; beyond it they are dropped, for the row brings them again."""


@dataclass(frozen=True)
class _Epoch:
    key: str
    epoch: int
    metrics: Mapping[str, float]
    time: int


@dataclass(frozen=True)
class _Act:
    """Anything but an epoch. final: worth a try even when MLflow has just failed."""

    do: Callable[[Book], None]
    final: bool = False


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
            self._rows.setdefault(row.cell, {})[row.key] = row
        self._running: set[str] = set()
        self._book: Book | None = None
        self._asleep_until = 0.0
        self._events: deque[_Epoch | _Act] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def started(self, key: str, cell: str, labels: Mapping[str, Any], seed: int) -> None:
        """A trial begins, for the first time or again."""

        def act(book: Book) -> None:
            self._running.add(key)
            book.start(key, cell, labels, seed)

        self._put(_Act(act))

    def epoch(self, key: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """A trial ended an epoch, counted from 1."""
        self._put(_Epoch(key, epoch, dict(metrics), time.time_ns() // 1_000_000))

    def finished(self, row: Row) -> None:
        """A trial is done."""
        self.finished_as(lambda: row)

    def finished_as(self, read: Callable[[], Row | None]) -> None:
        """A trial is done; its row is read in the tracker's thread."""

        def act(book: Book) -> None:
            found = read()
            if found is None:
                return
            self._running.discard(found.key)
            self._rows.setdefault(found.cell, {})[found.key] = found
            book.finish(found)
            book.cell(found.cell, list(self._rows[found.cell].values()))

        self._put(_Act(act))

    def stopped(self, key: str) -> None:
        """A trial was interrupted and has no row."""

        def act(book: Book) -> None:
            self._running.discard(key)
            book.stop(key)

        self._put(_Act(act))

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

        self._put(_Act(act, final=True))

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
            self._warn(f"MLflow at {public(self._uri)} did not take everything within {timeout:g} s")
        return not self.problem

    def _put(self, event: _Epoch | _Act) -> None:
        with self._wake:
            if isinstance(event, _Act) or len(self._events) < CAPACITY:
                self._events.append(event)
                self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: bool(self._events) or self._closing)
                events, closing = list(self._events), self._closing
                self._events.clear()
            if closing and not events:
                break
            self._tell(events)
        self._tell([_Act(self._stop_all)] if self._book else [])

    def _tell(self, events: Sequence[_Epoch | _Act]) -> None:
        """Tell MLflow of some events, or drop them while it is away."""
        final = any(isinstance(event, _Act) and event.final for event in events)
        if not events or (time.monotonic() < self._asleep_until and not final):
            return
        try:
            if self._book is None:
                self._book = self._open()
                self._book.begin()
            _apply(self._book, events)
            if final:
                self.problem = ""
        except Exception as error:  # noqa: BLE001  the boundary of the thread: reported, the sweep goes on
            self._book, self._asleep_until = None, time.monotonic() + PAUSE
            self._warn(trouble(self._uri, error))

    def _stop_all(self, book: Book) -> None:
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

    def finished(self, job: Job, outcome: Outcome) -> None:
        """A job ended, with a row or stopped; an evaluation stands in its trial's run."""
        trial = job.key if job.evaluation is None else job.parent
        if outcome.status == "stopped":
            self.tracker.stopped(job.key)
        elif trial is not None:
            self.tracker.finished_as(lambda: self.read(trial))


def _apply(book: Book, events: Sequence[_Epoch | _Act]) -> None:
    """Epochs that wait together become one call a trial."""
    waiting: dict[str, list[tuple[int, Mapping[str, float], int]]] = {}

    def flush() -> None:
        for key, reports in waiting.items():
            if key in book.trials:  # not where its start was lost in an outage
                book.epoch(key, reports)
        waiting.clear()

    for event in events:
        if isinstance(event, _Epoch):
            waiting.setdefault(event.key, []).append((event.epoch, event.metrics, event.time))
        else:
            flush()
            event.do(book)
    flush()
