"""Learning curves from a ledger: the history and the timings of trials that were run."""

from __future__ import annotations

from orchestrator.planning.job import Job
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import DONE, Row
from orchestrator.simulation.curves import Curve, Curves

HEAVY = ("correct", "trial", "canonical", "versions", "lineage")
"""Columns that no curve needs."""


class Recorded:
    """The curve of the row of a job's key, else of a row of its cell, else one of other curves.

    Only rows that came to their end are taken: where a pruned or failed trial would have gone is not known.
    Of several rows of a cell the one of the lowest seed stands for those that are lacking.

    The seconds before the first epoch are those of the phases ``data`` and ``build``; the rest of ``total``
    is spread evenly over the epochs, for a row does not tell them apart.

    Args:
        ledger: read once, and only read. otherwise: curves of jobs that it knows nothing of.

    Attributes:
        found: number of rows with a curve.
    """

    def __init__(self, ledger: Ledger, otherwise: Curves) -> None:
        self.otherwise = otherwise
        self.by_key: dict[str, Curve] = {}
        self.by_cell: dict[str, Curve] = {}
        keys = [key for key, status in ledger.index(rule=None).items() if status in DONE]
        rows = [row for row in ledger.read(keys, rule=None, without=HEAVY) if row.history]
        for row in sorted(rows, key=lambda row: (row.seed, row.key)):
            self.by_key[row.key] = curve_of(row)
            self.by_cell.setdefault(row.cell, self.by_key[row.key])
        self.found = len(self.by_key)

    def of(self, job: Job) -> Curve:
        """The curve of a job."""
        found = self.by_key.get(job.key)
        if found is not None:
            return found
        like = self.by_cell.get(job.cell)
        if like is not None:
            return Curve(**{**vars(like), "origin": "cell"})
        return self.otherwise.of(job)


def curve_of(row: Row) -> Curve:
    """The curve that a trial followed, from its row."""
    epochs = [{name: value for name, value in epoch.items() if name != "epoch"} for epoch in row.history]
    before = sum(row.timings.get(phase, 0.0) for phase in ("data", "build"))
    each = max(0.0, row.timings.get("total", 0.0) - before) / len(epochs)
    return Curve(
        epochs, [each] * len(epochs), before, status="diverged" if row.status == "diverged" else "completed",
        message=row.error, best=row.best, last=row.last, best_epoch=row.best_epoch, origin="key",
    )  # fmt: skip
