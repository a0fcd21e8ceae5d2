"""The end of a run: reports from the ledger, the rest of MLflow's record, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import reporting
from orchestrator.dispatch.progress import Progress
from orchestrator.onerun import OneRun
from orchestrator.options import Ended
from orchestrator.planning import population
from orchestrator.planning.attempts import Attempts
from orchestrator.planning.plan import Plan, plan
from orchestrator.planning.sequential import seeds_asked
from orchestrator.records.patience import patiently
from orchestrator.records.row import Row
from orchestrator.reported import Reported

if TYPE_CHECKING:
    from orchestrator.tracking.tracker import Tracker


class Closing:
    """Closes a run of a sweep.

    Args:
        of: the run. progress: of it.
    """

    def __init__(self, of: OneRun, progress: Progress) -> None:
        self.of, self.progress = of, progress

    def close(
        self,
        before: Plan,
        feed: Attempts,
        tracker: Tracker | None,
        rows: list[Row] | None = None,
    ) -> Ended:
        """Report what the ledger holds, unless the last run has reported just that.

        Args:
            before: the plan of the run. feed: knows whether and why it ended early.
            tracker: of this run's trials; None where there was none, or MLflow is not written.
            rows: of the plan, where nothing was dispatched, so that they still are what the ledger holds.
        """
        ran, after = rows is None, before
        try:
            if rows is None:
                after, rows = patiently(self._recorded, "perturb", 0 if feed.stopped else None)
        except OSError as error:
            return self._unread(before, feed, error)
        if self.of.sweep.population and not after.counts()["todo"]:
            population.clear(self.of.store, after.jobs)
        reported = Reported(self.of.sweep, self.of.store, self.of.options, rows)
        known = not ran and reported.already()
        files = self._written(after, rows) if rows and not known else []
        self._show(after, rows)
        if not known and self._tracked(tracker, after, rows, files) and files:
            reported.keep()
        return self._ended(after, feed, known or bool(files))

    def _recorded(self) -> tuple[Plan, list[Row]]:
        after = plan(self.of.sweep, self.of.ledger)
        return after, reporting.rows_of(after, self.of.ledger)

    def _written(self, after: Plan, rows: Sequence[Row]) -> list[Path]:
        try:
            return reporting.write(self.of.sweep, self.of.store, after.grid.points, rows)
        except OSError as error:
            self.of.audience.note(f"the report was not written ({error}); `perturb report` writes it")
            return []

    def _show(self, after: Plan, rows: Sequence[Row]) -> None:
        if self.of.audience.console is not None and rows:
            for table in reporting.show(self.of.sweep, after.grid.points, rows):
                self.of.audience.say(table)

    def _tracked(
        self, tracker: Tracker | None, after: Plan, rows: Sequence[Row], files: Sequence[Path]
    ) -> bool:
        """Complete MLflow's record; whether it is whole, or none is wanted."""
        if not self.of.options.track:
            return True
        points = after.grid.points
        if tracker is None:
            seeds = seeds_asked(self.of.sweep, points, rows)
            tracker = reporting.start_tracker(
                self.of.sweep, self.of.store, points, seeds, rows, self.of.options.uri
            )
        about = reporting.reports_of(self.of.sweep), files, self.of.sweep.description
        tracker.complete(points, rows, *about, reporting.selects_on_test(self.of.sweep))
        if tracker.close():
            return True
        self.of.audience.note("MLflow lacks part of the record; `perturb track` completes it from the ledger")
        return False

    def _ended(self, after: Plan, feed: Attempts, page: bool) -> Ended:
        failed = [job.key for job in after.jobs if after.status.get(job.key) == "failed"]
        failed += [job.key for job in after.evaluated.todo if after.evaluated.state[job.key] == "failed"]
        return Ended(
            after.counts(),
            feed.stopped,
            reporting.page_of(self.of.sweep, self.of.store) if page else "",
            dict(self.progress.failures),
            tuple(failed),
            bool(self.of.sweep.search),
            after.evaluated.counts(),
            self.of.options.train,
            feed.broken,
        )

    def _unread(self, before: Plan, feed: Attempts, error: OSError) -> Ended:
        """How the run ended, told without the ledger, which cannot be read."""
        why = f"the store does not answer ({error})"
        self.of.audience.note(f"{why}; what was finished is counted from what the workers said")
        counts, progress = before.counts(), self.progress
        done = progress.done + progress.pruned
        counts |= {"done": done, "todo": max(0, counts["trials"] - done)}
        counts |= {"pruned": progress.pruned, "failed": progress.states["failed"]}
        return Ended(
            counts, feed.stopped or why, "", dict(progress.failures), searched=bool(self.of.sweep.search),
            broken=feed.broken,
        )  # fmt: skip
