"""The driver of a sweep: plan, dispatch, watch, track, report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.errors import InputError
from engine.files import data_root
from orchestrator import reporting
from orchestrator.dispatch.drain import draining
from orchestrator.dispatch.live import line, live
from orchestrator.dispatch.progress import Progress
from orchestrator.dispatch.pulse import Pulse
from orchestrator.dispatch.room import Room
from orchestrator.dispatch.shipping import pack
from orchestrator.dispatch.tune import Observer, run_here, run_on_ray, start_ray
from orchestrator.dispatch.watchdog import Watchdog
from orchestrator.doctor.quick import ready
from orchestrator.heralds import Herald, heralded
from orchestrator.notify import notifier_of
from orchestrator.planning import population, preflight
from orchestrator.planning.attempts import Attempts
from orchestrator.planning.cells import CellSeeds, Point
from orchestrator.planning.evaluations import attach, impossible, jobs_of_row
from orchestrator.planning.feed import Budget
from orchestrator.planning.garbage import settled
from orchestrator.planning.job import Job, Outcome, Surroundings, stop_flag
from orchestrator.planning.plan import Plan, plan, plan_on_sound_rows
from orchestrator.planning.policy import Policy
from orchestrator.planning.sequential import Sequential, seeds_asked
from orchestrator.planning.shared import Shared
from orchestrator.planning.source import source_of
from orchestrator.planning.spending import meter_of
from orchestrator.records.claims import Claims, SweepLock
from orchestrator.records.compaction import tidy
from orchestrator.records.lease import Holder, Lease
from orchestrator.records.ledger import Ledger
from orchestrator.records.leftovers import clear
from orchestrator.records.patience import patiently
from orchestrator.records.provenance import git_commit, now
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from orchestrator.dispatch.events import Events
    from orchestrator.tracking.tracker import Tracker


@dataclass(frozen=True)
class Options:
    """How a sweep is run; no result depends on any of it.

    Attributes:
        store: where results live; None takes ``PERTURB_STORE``, else ``perturb-store`` here.
        address: of a running Ray cluster; None starts Ray on this machine.
        local: run in this process, without Ray.
        cpus: of the Ray started here; None is all.
        track: whether MLflow is written; uri: its store, by default inside ours.
        train: False runs only the evaluations of trials that are done.
        retrain: train trials again whose weights an evaluation needs and that kept none.
    """

    store: str | None = None
    address: str | None = None
    local: bool = False
    cpus: int | None = None
    track: bool = True
    uri: str | None = None
    train: bool = True
    retrain: bool = False


@dataclass(frozen=True)
class Ended:
    """How a run of a sweep ended.

    Attributes:
        counts: of its plan, after the run. stopped: why it ended early; empty when it did not.
        report: where its report page is; empty when there is nothing to report.
        failures: number of trials that failed in this run, by class. failed: keys of all failed trials.
        searched: whether it was a search, whose space may hold fewer cells than its budget.
        evaluations: counts of its evaluations, after the run; empty where it asks for none.
        trained: whether trials were run as well as evaluations.
    """

    counts: dict[str, int]
    stopped: str = ""
    report: str = ""
    failures: dict[str, int] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    searched: bool = False
    evaluations: dict[str, int] = field(default_factory=dict)
    trained: bool = True

    @property
    def state(self) -> Literal["done", "failed", "stopped"]:
        """How it ended, in a word."""
        return "stopped" if self.exit_code == 75 else "failed" if self.exit_code else "done"

    @property
    def exit_code(self) -> int:
        """0 done, 1 some trials or evaluations failed or could not start, 75 drained and resumable."""
        trials = self.counts if self.trained else {"todo": 0, "failed": 0}
        asked = self.evaluations or {"todo": 0, "failed": 0, "impossible": 0}
        left, waiting = trials["todo"] > trials["failed"], asked["todo"] > asked["failed"]
        if self.stopped and (left or waiting):
            return 75
        bad = trials["failed"] or asked["failed"] or asked["impossible"] or waiting
        return 1 if bad or (left and not self.searched) else 0


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
    store = Store(options.store)
    ledger = Ledger(store)
    if not options.train and not sweep.asked:
        raise InputError("evaluations", "nothing", "evaluations: [{name: ...}] in the sweep file")
    if sweep.population and options.local:
        raise InputError("scheduler.name", "'pbt'", "another one without Ray: its trials take turns")
    planned = plan_on_sound_rows(sweep, ledger, options.retrain)
    cells = preflight.cells_of(sweep, planned.grid)
    preflight.check_data(cells)
    for advice in preflight.advised(cells):
        _warn(console, heralds, advice)
    if options.track:
        reporting.tracking_place(store, options.uri)
    if planned.evaluated.todo or (options.train and planned.counts()["todo"]):
        if not options.local:
            _start_ray(sweep, options)
        ready(store, options.address, lambda text: _warn(console, heralds, text))

    def say(text: str) -> None:
        if console is not None:
            console.print(text, highlight=False, markup=False, soft_wrap=True)

    with Lease(store, sweep.name) as lease, SweepLock(lease, say):
        store.remove(stop_flag(sweep.name))
        name = f"sweeps/{sweep.name}/runs/{now().replace(':', '')}.yaml"
        store.put(name, sweep.text.encode())
        store.put(f"sweeps/{sweep.name}/sweep.yaml", sweep.text.encode())
        clear(lease, ledger, sweep.rule)
        tidy(ledger)
        with heralded(heralds, sweep.name, planned.counts(), planned.evaluated.counts()) as told:
            told.ended = _Driver(sweep, options, store, ledger, planned, console, lease, heralds).run()
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


class _Driver:
    """One call of :func:`run`, with the lock held."""

    def __init__(
        self,
        sweep: Sweep,
        options: Options,
        store: Store,
        ledger: Ledger,
        planned: Plan,
        console: Console | None,
        lease: Lease,
        heralds: Sequence[Herald] = (),
    ):
        self.heralds = heralds
        self.sweep, self.options, self.store, self.ledger = sweep, options, store, ledger
        self.planned, self.console, self.lease = planned, console, lease
        self.claims, self.observers = Claims(lease), list[Observer]()
        resources = sweep.resources
        self.around = Surroundings(
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

    def run(self) -> Ended:
        budget = self.sweep.budget
        source = source_of(self.sweep, self.planned, self.ledger, self.options.train)
        shared = Shared(
            source,
            self.claims,
            self.ledger,
            self._needed(),
            elsewhere=self._elsewhere,
            say=self._say,
            rule=self.sweep.rule,
        )
        trials = None if self.sweep.search else budget.trials
        meter = meter_of(self.sweep, self.planned, self.ledger)
        policy = Policy(self.sweep.failures, _nodes)
        feed = Attempts(Budget(shared, trials, budget.hours, meter), policy, self._say)
        counts, asked = self.planned.counts(), self.planned.evaluated
        progress = Progress(self.sweep.name, counts, self.sweep.metric, asked.counts())
        progress.trains, progress.aside = self.options.train, shared.aside
        held = [job.key for job in self.planned.jobs if job.key in self.planned.status]
        rows = self.ledger.read(held, self.planned.status, rule=self.planned.rule)
        rows = attach(rows, asked.jobs, self.ledger)
        progress.recall(self.planned.jobs, rows)
        observers = self.observers
        observers += [progress, *self.heralds]
        tracker, seeds = None, seeds_asked(self.sweep, self.planned.grid.points, rows)
        if self.options.track:
            from orchestrator.tracking.tracker import Follower

            points = self.planned.grid.points
            tracker = reporting.start_tracker(self.sweep, self.store, points, seeds, rows, self.options.uri)
            observers.append(Follower(tracker, self._row))
        if isinstance(source, Sequential):
            source.grown = partial(self._grown, source, progress, seeds)
        del rows
        if not feed.exhausted:
            if self.options.address:
                cells = preflight.cells_of(self.sweep, self.planned.grid)
                self.around = replace(self.around, files=pack(preflight.data_of(cells)))
            self._dispatch(feed, progress, observers)
        progress.state = "stopped" if feed.stopped else "done"
        with suppress(OSError):  # the ledger tells it too
            self.store.put(f"sweeps/{self.sweep.name}/progress.json", progress.json())
        for herald in self.heralds:
            herald.progress(progress)
        for told in filter(None, [feed.note, *impossible(self.planned.evaluated)]):
            self._note(told)
        return self._close(feed.stopped, progress, tracker)

    def _close(self, stopped: str, progress: Progress, tracker: Tracker | None) -> Ended:
        """Reports from the ledger, and the rest of MLflow's record."""
        try:
            after, rows = patiently(self._recorded, "perturb", 0 if stopped else None)
        except OSError as error:
            return self._unread(stopped, progress, error)
        if self.sweep.population and not after.counts()["todo"]:
            population.clear(self.store, after.jobs)
        evaluations = after.evaluated.counts()
        points = after.grid.points
        files = self._reported(points, rows) if rows else []
        if self.console is not None and rows:
            for table in reporting.show(self.sweep, points, rows):
                self._say(table)
        if tracker is not None:
            about = reporting.reports_of(self.sweep), files, self.sweep.description
            tracker.complete(points, rows, *about, reporting.selects_on_test(self.sweep))
            if not tracker.close():
                self._note("MLflow lacks part of the record; `perturb track` completes it from the ledger")
        failed = [job.key for job in after.jobs if after.status.get(job.key) == "failed"]
        failed += [job.key for job in after.evaluated.todo if after.evaluated.state[job.key] == "failed"]
        page = reporting.page_of(self.sweep, self.store) if files else ""
        return Ended(
            after.counts(), stopped, page, dict(progress.failures), tuple(failed), bool(self.sweep.search),
            evaluations, self.options.train,
        )  # fmt: skip

    def _recorded(self) -> tuple[Plan, list[Row]]:
        after = plan(self.sweep, self.ledger)
        return after, reporting.rows_of(after, self.ledger)

    def _unread(self, stopped: str, progress: Progress, error: OSError) -> Ended:
        """How the run ended, told without the ledger, which cannot be read."""
        why = f"the store does not answer ({error})"
        self._note(f"{why}; what was finished is counted from what the workers said")
        counts = self.planned.counts()
        counts |= {"done": progress.done, "todo": max(0, counts["trials"] - progress.done)}
        counts |= {name: progress.states[name] for name in ("pruned", "failed")}
        return Ended(counts, stopped or why, "", dict(progress.failures), searched=bool(self.sweep.search))

    def _reported(self, points: Sequence[Point], rows: Sequence[Row]) -> list[Path]:
        try:
            return reporting.write(self.sweep, self.store, points, rows)
        except OSError as error:
            self._note(f"the report was not written ({error}); `perturb report` writes it")
            return []

    def _grown(self, source: Sequential, progress: Progress, seeds: Sequence[int], count: int) -> None:
        """More seeds are asked for: what is shown and tracked counts them."""
        progress.trials += count
        if isinstance(seeds, CellSeeds):
            seeds.by_cell.update(source.wanted)

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

    def _dispatch(self, feed: Attempts, progress: Progress, observers: list[Observer]) -> None:
        watchdog = Watchdog(self.store, self.sweep.name, self.around.minutes)

        def drain() -> None:
            feed.stop()
            watchdog.drain()
            progress.state = "draining"
            pulse.ask(stop_flag(self.sweep.name))

        def taken_over(by: Holder) -> None:
            logging.getLogger("perturb").warning("the sweep was taken over by %s; this driver ends", by)
            feed.stop(f"taken over by {by}")
            progress.state = "draining"
            self.store.put(self.lease.stop, b"")  # the other driver's trials go on

        self.lease.lost = taken_over
        terminal = self.console is not None and self.console.is_terminal
        plain = self._say if self.console is not None and not terminal else None
        pulse = Pulse(progress, self.store, stop_flag(self.sweep.name), drain, plain, self.heralds)
        with ExitStack() as stack:
            stack.callback(self.claims.close)
            stack.enter_context(settled())
            stack.enter_context(draining(drain))
            if terminal and self.console is not None:
                stack.enter_context(live(progress, self.console))
            pulse.start()
            stack.callback(pulse.close)
            if self.options.local:
                run_here(feed, self.around, observers)
            else:
                epochs = max((job.trial["epochs"] for job in self.planned.jobs), default=1)
                rule = self.sweep.scheduler, self.sweep.better, epochs
                run_on_ray(
                    feed, self.around, self._room(feed), watchdog, observers, rule, bool(self.options.address)
                )
        self._say(line(progress.snapshot()))

    def _note(self, text: str) -> None:
        """Something that the user should know, wherever the run is followed."""
        self._say(text)
        for herald in self.heralds:
            herald.warning(text)

    def _room(self, attempts: Attempts) -> Room:
        import ray

        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        most = max((node["Resources"].get("CPU", 0.0) for node in nodes if node["Alive"]), default=0.0)
        return Room(self.sweep.resources, attempts, most)

    def _say(self, text: RenderableType) -> None:
        if self.console is not None:
            self.console.print(text, highlight=False, soft_wrap=True)


def _nodes() -> set[str]:
    """Ids of the nodes of the Ray cluster that live; none without Ray."""
    import ray

    if not ray.is_initialized():
        return set()
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]


def _warn(console: Console | None, heralds: Sequence[Herald], text: str) -> None:
    for herald in heralds:
        herald.warning(text)
    if console is not None:
        text = text if text.startswith("warning") else f"warning: {text}"
        console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)


def _start_ray(sweep: Sweep, options: Options) -> None:
    """Connect to Ray, and refuse what its nodes could never run."""
    import ray

    packages = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "engine")]
    start_ray(options.address, options.cpus, packages)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    preflight.check_resources(sweep.resources, nodes)
