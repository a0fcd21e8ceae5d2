"""The driver of a sweep: plan, dispatch, watch, track, report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError
from engine.files import data_root
from orchestrator import reporting
from orchestrator.audience import Audience
from orchestrator.closing import Closing
from orchestrator.dispatch.progress import Progress, told_already
from orchestrator.dispatch.room import held_of
from orchestrator.dispatch.shipping import pack
from orchestrator.dispatch.tune import Observer
from orchestrator.dispatching import Dispatch, connect, living
from orchestrator.doctor.quick import ready
from orchestrator.heralds import Herald, heralded
from orchestrator.notify import notifier_of
from orchestrator.options import Ended, Options
from orchestrator.planning import preflight
from orchestrator.planning.attempts import Attempts
from orchestrator.planning.evaluations import attach, impossible, jobs_of_row
from orchestrator.planning.feed import Budget, Feed
from orchestrator.planning.job import Job, Outcome, Surroundings, cancel_flag, stop_flag
from orchestrator.planning.plan import Plan, plan_with_rows
from orchestrator.planning.policy import Policy
from orchestrator.planning.sequential import Sequential, seeds_asked
from orchestrator.planning.shared import Shared
from orchestrator.planning.source import source_of
from orchestrator.planning.spending import meter_of
from orchestrator.records.claims import Claims, SweepLock
from orchestrator.records.compaction import tidy
from orchestrator.records.lease import Lease
from orchestrator.records.ledger import Ledger
from orchestrator.records.leftovers import clear
from orchestrator.records.provenance import git_commit, now
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.dispatch.events import Events
    from orchestrator.tracking.tracker import Tracker


def run(
    sweep: Sweep,
    options: Options | None = None,
    console: Console | None = None,
    events: Events | None = None,
) -> Ended:
    """Run what is left of a sweep; what the ledger holds as done is not computed again.

    Args:
        sweep: from :func:`orchestrator.sweepfile.sweep.load`. options: where and how.
        console: shown on; None shows nothing. events: told what happens, as ``--json`` does.

    Raises:
        SweepError, InputError: the sweep cannot be run as it is; nothing has been written.
        SweepHeld: another driver runs it.
    """
    options = options or Options()
    heralds: list[Herald] = [*notifier_of(sweep), *([events] if events is not None else [])]
    audience = Audience(console, heralds)
    store = Store(options.store)
    ledger = Ledger(store)
    _check(sweep, options)
    planned, rows = plan_with_rows(sweep, ledger, options.retrain)
    todo = planned.evaluated.todo or (options.train and planned.counts()["todo"])
    if todo:
        _check_data(sweep, planned, audience)
    if options.track:
        reporting.tracking_place(store, options.uri)
    if todo:
        if not options.local:
            connect(sweep, options)
        ready(store, options.address, audience.warn)
    with Lease(store, sweep.name) as lease, SweepLock(lease, audience.say):
        store.remove(stop_flag(sweep.name))
        store.remove_folder(cancel_flag(sweep.name, ""))
        name = f"sweeps/{sweep.name}/runs/{now().replace(':', '')}.yaml"
        store.put(name, sweep.text.encode())
        store.put(f"sweeps/{sweep.name}/sweep.yaml", sweep.text.encode())
        clear(lease, ledger, sweep.rule)
        tidy(ledger)
        with heralded(heralds, sweep.name, planned.counts(), planned.evaluated.counts()) as told:
            audience.begin()
            told.ended = _Driver(sweep, options, store, ledger, planned, lease, audience).run(rows)
        tidy(ledger)
        return told.ended


def evaluate(
    sweep: Sweep,
    options: Options | None = None,
    console: Console | None = None,
    events: Events | None = None,
) -> Ended:
    """Run what is left of a sweep's evaluations, of trials that are done; nothing is trained.

    Arguments and errors are those of :func:`run`.
    """
    return run(sweep, replace(options or Options(), train=False, retrain=False), console, events)


def _check(sweep: Sweep, options: Options) -> None:
    """What cannot be run in this way at all."""
    if not options.train and not sweep.asked:
        raise InputError("evaluations", "nothing", "evaluations: [{name: ...}] in the sweep file")
    if sweep.population and options.local:
        raise InputError("scheduler.name", "'pbt'", "another one without Ray: its trials take turns")


def _check_data(sweep: Sweep, planned: Plan, audience: Audience) -> None:
    """Refuse data that is not here, and say what is advised against."""
    cells = preflight.cells_of(sweep, planned.grid)
    preflight.check_data(cells)
    for advice in preflight.advised(cells):
        audience.warn(advice)


class _Driver:
    """One call of :func:`run`, with the lock held."""

    def __init__(
        self,
        sweep: Sweep,
        options: Options,
        store: Store,
        ledger: Ledger,
        planned: Plan,
        lease: Lease,
        audience: Audience,
    ) -> None:
        self.sweep, self.options, self.store, self.ledger = sweep, options, store, ledger
        self.planned, self.lease, self.audience = planned, lease, audience
        self.claims, self.observers = Claims(lease), list[Observer]()
        self.around = _around(sweep, options, store, lease)

    def run(self, rows: list[Row]) -> Ended:
        """Whatever is left, from the rows that there are, which are let go of where more will come."""
        planned = self.planned
        source = source_of(self.sweep, planned, self.ledger, self.options.train)
        shared = Shared(
            source,
            self.claims,
            self.ledger,
            self._needed(),
            elsewhere=self._elsewhere,
            say=self.audience.say,
            rule=self.sweep.rule,
        )
        feed = self._feed(shared)
        seeds = seeds_asked(self.sweep, planned.grid.points, rows)
        counts = planned.counts(), self.sweep.metric, planned.evaluated.counts()
        progress = Progress(self.sweep.name, *counts, seeds)
        progress.trains, progress.aside = self.options.train, shared.aside
        progress.recall(planned.jobs, rows)
        ran, tracker = not feed.exhausted, None
        if ran:
            tracker = self._dispatch(feed, source, progress, rows)
        progress.state = "stopped" if feed.stopped else "done"
        if ran or not told_already(self.store, progress):
            with suppress(OSError):  # the ledger tells it too
                self.store.put(f"sweeps/{self.sweep.name}/progress.json", progress.json())
        for herald in self.audience.heralds:
            herald.progress(progress)
        for told in filter(None, [feed.note, *impossible(planned.evaluated)]):
            self.audience.note(told)
        closing = Closing(self.sweep, self.options, self.store, self.ledger, self.audience, progress)
        return closing.close(planned, feed, tracker, None if ran else rows)

    def _feed(self, shared: Shared) -> Attempts:
        budget = self.sweep.budget
        trials = None if self.sweep.search else budget.trials
        meter = meter_of(self.sweep, self.planned, self.ledger)
        limited = Budget(shared, trials, budget.hours, meter)
        return Attempts(limited, Policy(self.sweep.failures, living), self.audience.say, shared.finished)

    def _dispatch(self, feed: Attempts, source: Feed, progress: Progress, rows: list[Row]) -> Tracker | None:
        """Run what is left, with everybody watching; the tracker of it. The rows are let go of."""
        planned, points = self.planned, self.planned.grid.points
        self.observers += [progress, *self.audience.heralds]
        tracker, seeds = None, progress.seeds  # those that grow are the ones that are shown
        if self.options.track:
            from orchestrator.tracking.tracker import Follower

            tracker = reporting.start_tracker(self.sweep, self.store, points, seeds, rows, self.options.uri)
            self.observers.append(Follower(tracker, self._row))
        if isinstance(source, Sequential):
            source.grown = lambda count: progress.grown(count, source.wanted)
        memory = held_of(rows)
        rows.clear()
        if self.options.address:
            cells = preflight.cells_of(self.sweep, planned.grid)
            self.around = replace(self.around, files=pack(preflight.data_of(cells)))
        about = self.lease, self.claims, self.audience, progress, self.observers
        Dispatch(self.sweep, self.options, self.around, *about).run(feed, planned.jobs, memory)
        return tracker

    def _row(self, key: str) -> Row | None:
        row = self.ledger.one(key, self.planned.rule)
        return attach([row], jobs_of_row(row, self.sweep), self.ledger)[0] if row else None

    def _needed(self) -> Callable[[Job], bool]:
        """Whether a trial's weights are used in this sweep; a search's trials may be, where they keep any."""
        parents = {job.parent for job in (*self.planned.jobs, *self.planned.evaluated.jobs)}
        return lambda job: job.key in parents or bool(self.sweep.search)

    def _elsewhere(self, job: Job, outcome: Outcome) -> None:
        """A job ended that another driver ran."""
        for observer in self.observers:
            observer.started(job)
            observer.finished(job, outcome)


def _around(sweep: Sweep, options: Options, store: Store, lease: Lease) -> Surroundings:
    """What all jobs of a run share."""
    resources = sweep.resources
    return Surroundings(
        store=store.location,
        sweep=sweep.name,
        plugins=tuple((Path(p).name, (sweep.folder / p).read_bytes()) for p in sweep.plugins),
        git_commit=git_commit(sweep.folder) or git_commit(Path(__file__).parent),
        cpus=resources.cpus,
        workers=1 if options.local else resources.workers,
        micro=resources.micro,
        gpu=resources.most_gpus > 0,
        minutes=sweep.failures.minutes or 0.0,
        rule=sweep.rule,
        watched=sweep.watched,
        pauses=sweep.scheduler.pauses if sweep.scheduler else False,
        every=sweep.population.every if sweep.population else 0,
        data_root=str(data_root() or ""),
        stop=lease.stop,
    )
