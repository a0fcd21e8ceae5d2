"""What a tracker is told while trials train, kept small while it waits, and told to MLflow in few calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.records.row import Row
from orchestrator.tracking.book import Book, batched
from orchestrator.tracking.mlflow_store import Conflict

TRANSACTION = 1000
"""Events that are told in one transaction at most."""


@dataclass(frozen=True)
class Epoch:
    """An epoch that a trial ended; its time in milliseconds since 1970."""

    key: str
    epoch: int
    metrics: Mapping[str, float]
    time: int


@dataclass(frozen=True)
class Act:
    """Anything but an epoch.

    Attributes:
        do: what is told. key: of its trial. ends: whether its row brings the epochs that still wait.
        final: worth a try even when MLflow has just failed.
    """

    do: Callable[[Book], None]
    key: str = ""
    ends: bool = False
    final: bool = False


def tell_all(book: Book, events: Sequence[Epoch | Act]) -> None:
    """What waited together, in few transactions; the last act makes its own."""
    last = [event for event in events if isinstance(event, Act) and event.final]
    for some in batched((event for event in events if event not in last), TRANSACTION):
        try:
            with book.client.together():
                _apply(book, some)
        except Conflict:
            book.reload()
            _apply(book, some)
    _apply(book, last)


def _apply(book: Book, events: Sequence[Epoch | Act]) -> None:
    """Epochs that wait together become one call a trial; those of a trial that ended come with its row."""
    waiting: dict[str, list[tuple[int, Mapping[str, float], int]]] = {}

    def flush(key: str) -> None:
        reports = waiting.pop(key, None)
        if reports and key in book.trials:  # not where its start was lost in an outage
            book.epoch(key, reports)

    for event in events:
        if isinstance(event, Epoch):
            waiting.setdefault(event.key, []).append((event.epoch, event.metrics, event.time))
        else:
            if event.ends:
                waiting.pop(event.key, None)
            flush(event.key)
            event.do(book)
    for key in list(waiting):
        flush(key)


def slim(row: Row) -> Row:
    """What a cell's summary needs of a row, for a tracker holds those of a whole sweep."""
    canonical = {"data": row.canonical["data"]} if "data" in row.canonical else {}
    evaluations = {
        label: replace(one, tables={}, correct={}, settings={}, canonical={}, error="")
        for label, one in row.evaluations.items()
    }
    return replace(
        row, trial={}, canonical=canonical, history=[], correct={}, also={}, versions={}, error="",
        lineage=[], timings={}, evaluations=evaluations,
    )  # fmt: skip
