"""The driver of a sweep: plan, dispatch, watch, track, report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError
from engine.files import data_root
from orchestrator import reporting
from orchestrator.audience import Audience
from orchestrator.closing import Closing
from orchestrator.dispatch.drain import noticed
from orchestrator.dispatch.observer import Observer
from orchestrator.dispatch.progress import Progress, progress_of, told_already
from orchestrator.dispatch.room import held_of
from orchestrator.dispatch.shipping import pack
from orchestrator.dispatching import Dispatch, connect, room_without
from orchestrator.doctor.quick import ready
from orchestrator.heralds import Herald, heralded
from orchestrator.notify import notifier_of
from orchestrator.onerun import OneRun
from orchestrator.options import Ended, Options
from orchestrator.planning import preflight
from orchestrator.planning.attempts import Attempts
from orchestrator.planning.budget import Budget
from orchestrator.planning.evaluations import attach, impossible, jobs_of_row
from orchestrator.planning.feed import Feed
from orchestrator.planning.job import Job, Outcome, Surroundings, cancel_flag, stop_flag
from orchestrator.planning.plan import Plan, plan_with_rows
from orchestrator.planning.policy import Policy
from orchestrator.planning.sequential import Sequential, seeds_asked
from orchestrator.planning.shared import Shared
from orchestrator.planning.source import source_of
from orchestrator.planning.spending import meter_of
from orchestrator.records.claims import Claims, SweepHeld, SweepLock
from orchestrator.records.compaction import tidy
from orchestrator.records.lease import Lease, driver_of
from orchestrator.records.ledger import Ledger
from orchestrator.records.leftovers import clear
from orchestrator.records.provenance import git_commit, now
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.stored import no_longer_counted
from orchestrator.sweepfile.sweep import Sweep

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.dispatch.events import Events
    from orchestrator.tracking.tracker import Tracker


@noticed()
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
    holder = driver_of(store, sweep.name)
    if holder is not None:  # before any work; whoever comes later meets the lock
        raise SweepHeld(sweep.name, holder)
    last = progress_of(store, sweep.name)  # before the ledger: another driver may run and end meanwhile
    planned, rows = plan_with_rows(sweep, ledger, options.retrain)
    todo = planned.evaluated.todo or (options.train and planned.counts()["todo"])
    if todo:
        _check_data(sweep, planned, audience)
        for line in [] if options.retrain else no_longer_counted(sweep, planned, store, last):
            audience.warn(line)
    if options.track:
        reporting.tracking_place(store, options.uri)
    if todo:
        if not options.local:
            connect(sweep, options)
        ready(store, options.address, audience.warn)
    with Lease(store, sweep.name) as lease, SweepLock(lease, audience.note):
        store.remove(stop_flag(sweep.name))
        store.remove_folder(cancel_flag(sweep.name, ""))
        name = f"sweeps/{sweep.name}/runs/{now().replace(':', '')}.yaml"
        store.put(name, sweep.text.encode())
        store.put(f"sweeps/{sweep.name}/sweep.yaml", sweep.text.encode())
        clear(lease, ledger, sweep.rule)
        tidy(ledger)
        of = OneRun(sweep, options, store, ledger, lease, audience)
        with heralded(heralds, sweep.name, planned.counts(), planned.evaluated.counts()) as told:
            audience.begin()
            told.ended = _Driver(of, planned).run(rows)
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

    def __init__(self, of: OneRun, planned: Plan) -> None:
        self.of, self.planned = of, planned
        self.claims, self.observers = Claims(of.lease), list[Observer]()
        self.around = _around(of)

    def run(self, rows: list[Row]) -> Ended:
        """Whatever is left, from the rows that there are, which are let go of where more will come."""
        sweep, audience = self.of.sweep, self.of.audience
        source = source_of(sweep, self.planned, self.of.ledger, self.of.options.train)
        shared = Shared(
            source,
            self.claims,
            self.of.ledger,
            self._needed(),
            elsewhere=self._elsewhere,
            say=audience.note,
            rule=sweep.rule,
        )
        feed = self._feed(shared)
        seeds = seeds_asked(sweep, self.planned.grid.points, rows)
        counts = self.planned.counts()
        progress = Progress(sweep.name, counts, sweep.metric, self.planned.evaluated, seeds)
        progress.trains, progress.aside = self.of.options.train, shared.aside
        progress.recall(self.planned.jobs, rows)
        ran, tracker = not feed.exhausted, None
        if ran:
            tracker = self._dispatch(feed, source, progress, rows)
        progress.state = "stopped" if feed.stopped else "done"
        if ran or not told_already(self.of.store, progress):
            with suppress(OSError):  # the ledger tells it too
                self.of.store.put(f"sweeps/{sweep.name}/progress.json", progress.json())
        for herald in audience.heralds:
            herald.progress(progress)
        for told in filter(None, [feed.note, *impossible(self.planned.evaluated)]):
            audience.note(told)
        return Closing(self.of, progress).close(self.planned, feed, tracker, None if ran else rows)

    def _feed(self, shared: Shared) -> Attempts:
        sweep, budget = self.of.sweep, self.of.sweep.budget
        trials = None if sweep.search else budget.trials
        meter = meter_of(sweep, self.planned, self.of.ledger)
        limited = Budget(shared, trials, budget.hours, meter)
        policy = Policy(sweep.failures, partial(room_without, sweep.resources))
        return Attempts(limited, policy, self.of.audience.note, shared.finished)

    def _dispatch(self, feed: Attempts, source: Feed, progress: Progress, rows: list[Row]) -> Tracker | None:
        """Run what is left, with everybody watching; the tracker of it. The rows are let go of."""
        of, planned, points = self.of, self.planned, self.planned.grid.points
        self.observers += [progress, *of.audience.heralds]
        tracker, seeds = None, progress.seeds  # those that grow are the ones that are shown
        if of.options.track:
            from orchestrator.tracking.tracker import Follower

            tracker = reporting.start_tracker(of.sweep, of.store, points, seeds, rows, of.options.uri)
            self.observers.append(Follower(tracker, self._row))
        if isinstance(source, Sequential):
            source.grown = lambda count: progress.grown(count, source.wanted)
        memory = held_of(rows)
        rows.clear()
        if of.options.address:
            cells = preflight.cells_of(of.sweep, planned.grid)
            self.around = replace(self.around, files=pack(preflight.data_of(cells)))
        dispatch = Dispatch(of, self.around, self.claims, progress, self.observers)
        dispatch.run(feed, planned.jobs, memory)
        return tracker

    def _row(self, key: str) -> Row | None:
        row = self.of.ledger.one(key, self.planned.rule)
        return attach([row], jobs_of_row(row, self.of.sweep), self.of.ledger)[0] if row else None

    def _needed(self) -> Callable[[Job], bool]:
        """Whether a trial's weights are used in this sweep; a search's trials may be, where they keep any."""
        parents = {job.parent for job in (*self.planned.jobs, *self.planned.evaluated.jobs)}
        return lambda job: job.key in parents or bool(self.of.sweep.search)

    def _elsewhere(self, job: Job, outcome: Outcome) -> None:
        """A job ended that another driver ran."""
        for observer in self.observers:
            observer.started(job)
            observer.finished(job, outcome)


def _around(of: OneRun) -> Surroundings:
    """What all jobs of a run share."""
    sweep = of.sweep
    resources = sweep.resources
    return Surroundings(
        store=of.store.location,
        sweep=sweep.name,
        plugins=tuple((Path(p).name, (sweep.folder / p).read_bytes()) for p in sweep.plugins),
        git_commit=git_commit(sweep.folder) or git_commit(Path(__file__).parent),
        cpus=resources.cpus,
        workers=1 if of.options.local else resources.workers,
        micro=resources.micro,
        gpu=resources.most_gpus > 0,
        minutes=sweep.failures.minutes or 0.0,
        rule=sweep.rule,
        watched=sweep.watched,
        pauses=sweep.scheduler.pauses if sweep.scheduler else False,
        every=sweep.population.every if sweep.population else 0,
        data_root=str(data_root() or ""),
        stop=of.lease.stop,
    )
