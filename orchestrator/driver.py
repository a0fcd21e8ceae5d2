"""The driver of a sweep: plan, dispatch, watch, track, report."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError
from engine.files import data_root
from orchestrator import reporting
from orchestrator.dispatch.drain import draining
from orchestrator.dispatch.lock import SweepLock
from orchestrator.dispatch.progress import Progress, Pulse, line, live
from orchestrator.dispatch.shipping import pack
from orchestrator.dispatch.tune import Observer, run_here, run_on_ray, start_ray
from orchestrator.planning import preflight
from orchestrator.planning.evaluations import attach, impossible, jobs_of_row
from orchestrator.planning.feed import REQUESTED, Budget, Feed, Queue
from orchestrator.planning.job import Surroundings, stop_flag
from orchestrator.planning.plan import Plan, plan
from orchestrator.records.ledger import Ledger
from orchestrator.records.provenance import git_commit, now
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

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
    def exit_code(self) -> int:
        """0 done, 1 some trials or evaluations failed or could not start, 75 drained and resumable."""
        trials = self.counts if self.trained else {"todo": 0, "failed": 0}
        asked = self.evaluations or {"todo": 0, "failed": 0, "impossible": 0}
        left, waiting = trials["todo"] > trials["failed"], asked["todo"] > asked["failed"]
        if self.stopped and (left or waiting):
            return 75
        bad = trials["failed"] or asked["failed"] or asked["impossible"] or waiting
        return 1 if bad or (left and not self.searched) else 0


def run(sweep: Sweep, options: Options | None = None, console: Console | None = None) -> Ended:
    """Run what is left of a sweep; what the ledger holds as done is not computed again.

    Args:
        sweep: from :func:`orchestrator.sweepfile.sweep.load`. options: where and how.
        console: shown on; None shows nothing.

    Raises:
        SweepError, InputError: the sweep cannot be run as it is; nothing has been written.
        SweepHeld: another driver runs it.
    """
    options = options or Options()
    store = Store(options.store)
    ledger = Ledger(store)
    if not options.train and not sweep.asked:
        raise InputError("evaluations", "nothing", "evaluations: [{name: ...}] in the sweep file")
    planned = plan(sweep, ledger, options.retrain)
    cells = preflight.cells_of(sweep, planned.grid)
    preflight.check_data(cells)
    if console is not None:
        for advice in preflight.advised(cells):
            console.print(f"warning: {advice}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    if options.track:
        reporting.tracking_place(store, options.uri)
    if not options.local and (planned.evaluated.todo or (options.train and planned.counts()["todo"])):
        _start_ray(sweep, options)
    with SweepLock(store, sweep.name):
        store.remove(stop_flag(sweep.name))
        name = f"sweeps/{sweep.name}/runs/{now().replace(':', '')}.yaml"
        store.put(name, sweep.text.encode())
        store.put(f"sweeps/{sweep.name}/sweep.yaml", sweep.text.encode())
        return _Driver(sweep, options, store, ledger, planned, console).run()


def evaluate(sweep: Sweep, options: Options | None = None, console: Console | None = None) -> Ended:
    """Run what is left of a sweep's evaluations, of trials that are done; nothing is trained.

    Arguments and errors are those of :func:`run`.
    """
    return run(sweep, replace(options or Options(), train=False, retrain=False), console)


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
    ):
        self.sweep, self.options, self.store, self.ledger = sweep, options, store, ledger
        self.planned, self.console = planned, console
        resources = sweep.resources
        self.around = Surroundings(
            store=store.location,
            sweep=sweep.name,
            plugins=tuple((Path(p).name, (sweep.folder / p).read_bytes()) for p in sweep.plugins),
            git_commit=git_commit(sweep.folder) or git_commit(Path(__file__).parent),
            cpus=resources.cpus,
            workers=1 if options.local else resources.workers,
            micro=resources.micro,
            gpu=resources.gpus > 0,
            data_root=str(data_root() or ""),
        )

    def run(self) -> Ended:
        budget = self.sweep.budget
        feed = Budget(self._feed(), None if self.sweep.search else budget.trials, budget.hours)
        counts, asked = self.planned.counts(), self.planned.evaluated
        progress = Progress(self.sweep.name, counts, self.sweep.metric, asked.counts())
        progress.trains = self.options.train
        held = [job.key for job in self.planned.jobs if job.key in self.planned.status]
        rows = attach(self.ledger.read(held, self.planned.status), asked.jobs, self.ledger)
        progress.recall(self.planned.jobs, rows)
        observers: list[Observer] = [progress]
        tracker = None
        if self.options.track:
            from orchestrator.tracking.tracker import Follower

            points = self.planned.grid.points
            tracker = reporting.start_tracker(self.sweep, self.store, points, rows, self.options.uri)
            observers.append(Follower(tracker, self._row))
        if not feed.exhausted:
            if self.options.address:
                cells = preflight.cells_of(self.sweep, self.planned.grid)
                self.around = replace(self.around, files=pack(preflight.data_of(cells)))
            self._dispatch(feed, progress, observers)
        progress.state = "stopped" if feed.stopped else "done"
        self.store.put(f"sweeps/{self.sweep.name}/progress.json", progress.json())
        if feed.note:
            self._say(feed.note)
        for told in impossible(self.planned.evaluated):
            self._say(told)
        return self._close(feed.stopped, progress, tracker)

    def _close(self, stopped: str, progress: Progress, tracker: Tracker | None) -> Ended:
        """Reports from the ledger, and the rest of MLflow's record."""
        after = plan(self.sweep, self.ledger)
        evaluations = after.evaluated.counts()
        points = after.grid.points
        rows = reporting.rows_of(after, self.ledger)
        files = reporting.write(self.sweep, self.store, points, rows) if rows else []
        if self.console is not None and rows:
            for table in reporting.show(self.sweep, points, rows):
                self._say(table)
        if tracker is not None:
            about = reporting.reports_of(self.sweep), files, self.sweep.description
            tracker.complete(points, rows, *about, reporting.selects_on_test(self.sweep))
            if not tracker.close():
                self._say("MLflow lacks part of the record; `perturb track` completes it from the ledger")
        failed = [job.key for job in after.jobs if after.status.get(job.key) == "failed"]
        failed += [job.key for job in after.evaluated.todo if after.evaluated.state[job.key] == "failed"]
        page = reporting.page_of(self.sweep, self.store) if files else ""
        return Ended(
            after.counts(), stopped, page, dict(progress.failures), tuple(failed), bool(self.sweep.search),
            evaluations, self.options.train,
        )  # fmt: skip

    def _row(self, key: str) -> Row | None:
        found = self.ledger.read([key])
        return attach(found, jobs_of_row(found[0], self.sweep), self.ledger)[0] if found else None

    def _feed(self) -> Feed:
        done = [key for key, status in self.planned.status.items() if status == "completed"]
        evaluations = self.planned.evaluated.todo
        if not self.options.train:
            return Queue([job for job in evaluations if job.parent in set(done)], done)
        if self.sweep.search:
            from orchestrator.planning.search import Search

            return Search(self.sweep, self.ledger)
        return Queue(self.planned.todo + evaluations, done)

    def _dispatch(self, feed: Budget, progress: Progress, observers: list[Observer]) -> None:
        def drain() -> None:
            feed.stop(REQUESTED)
            progress.state = "draining"
            self.store.put(stop_flag(self.sweep.name), b"")

        terminal = self.console is not None and self.console.is_terminal
        plain = self._say if self.console is not None and not terminal else None
        pulse = Pulse(progress, self.store, stop_flag(self.sweep.name), drain, plain)
        with ExitStack() as stack:
            stack.enter_context(draining(drain))
            if terminal and self.console is not None:
                stack.enter_context(live(progress, self.console))
            pulse.start()
            stack.callback(pulse.close)
            if self.options.local:
                run_here(feed, self.around, observers)
            else:
                run_on_ray(feed, self.around, self.sweep.resources.model_dump(), observers)
        self._say(line(progress))

    def _say(self, text: RenderableType) -> None:
        if self.console is not None:
            self.console.print(text, highlight=False, soft_wrap=True)


def _start_ray(sweep: Sweep, options: Options) -> None:
    """Connect to Ray, and refuse what its nodes could never run."""
    import ray

    packages = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "engine")]
    start_ray(options.address, options.cpus, packages)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    preflight.check_resources(sweep.resources, nodes)
