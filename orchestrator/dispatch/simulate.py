"""Simulated slots as the dispatcher: the real searcher and scheduler, no Ray, no training, a virtual clock.

In place of Tune's controller stands :class:`Slots`, which calls our searcher and Tune's schedulers in the
order in which Tune's own loop calls them (Ray 2.60, ``tune_controller.py``): a report goes to the scheduler,
then to the searcher; a trial that ends, to both; one that the scheduler pauses gives its slot back and waits
until it is chosen again. Time jumps from event to event. Everything else is what runs in earnest: claims,
attempts, budgets, policies, rows.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, count
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from engine.result import Result
from orchestrator.dispatch.deaths import Death
from orchestrator.dispatch.observer import Observer
from orchestrator.dispatch.room import Room
from orchestrator.dispatch.rows import failed_row, trained_row
from orchestrator.dispatch.scheduler import scheduler_of
from orchestrator.dispatch.searcher import FeedSearcher
from orchestrator.dispatch.trainable import told
from orchestrator.dispatch.watchdog import Watchdog
from orchestrator.planning.attempts import Attempts
from orchestrator.planning.job import Job, Outcome, Surroundings
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from orchestrator.simulation.clock import Clock
from orchestrator.simulation.curves import Curve, Curves
from orchestrator.sweepfile.schedulers import Scheduler


class Died(RuntimeError):
    """A simulated process died, or its node was lost."""

    def __init__(self, death: Death) -> None:
        super().__init__("its node was lost" if death.free else "its process died")
        self.death = death


class SimulatedTrial:
    """As much of Tune's trial as schedulers and our searcher look at.

    Attributes:
        epoch: epochs that have ended. began: virtual time of its start. spent: seconds of slot time, without
            waiting for the driver. stint: those since it was last given a slot; order: number of that stint.
    """

    is_saving = False

    def __init__(self, trial_id: str, job: Job) -> None:
        self.trial_id, self.job = trial_id, job
        self.status: str = Trial.PENDING
        self.temporary_state = SimpleNamespace(ray_actor=None)
        self.last_result: dict[str, Any] = {}
        self.error: Died | None = None
        self.curve: Curve | None = None
        self.epoch, self.began, self.spent, self.stint, self.order = 0, 0.0, 0.0, 0.0, 0

    def init_local_path(self) -> None:
        """Nothing: it has no folder."""


class Slots:
    """Runs trials on simulated slots; stands where schedulers expect Tune's controller.

    Args:
        searcher: proposes trials. scheduler: ends or pauses them. curves: what they report, and when.
        around: what they share. slots: how many run at once. clock: of the simulation.
        together: trials that are queued ahead; 0 for one.

    Attributes:
        stints: seconds of slot time that each stint took, in the order in which they began. origins: attempts
            by where their curve came from.
    """

    def __init__(
        self,
        searcher: FeedSearcher,
        scheduler: Any,
        curves: Curves,
        around: Surroundings,
        slots: int,
        clock: Clock,
        together: int = 0,
    ) -> None:
        self.searcher, self.scheduler, self.curves, self.around = searcher, scheduler, curves, around
        self.free, self.clock, self.ahead = slots, clock, max(1, together)
        self.ledger = Ledger(Store(around.store))
        self.pending: dict[SimulatedTrial, None] = {}
        self.paused: dict[SimulatedTrial, None] = {}
        self.running: dict[SimulatedTrial, None] = {}
        self.events: list[tuple[float, int, SimulatedTrial]] = []
        self.reached: dict[str, int] = {}
        self.stints: list[float] = []
        self.origins: Counter[str] = Counter()
        self.numbers, self.over = count(), False

    def run(self) -> None:
        """Until no trial is left or running; none waits for a slot then, for all slots are free."""
        self._fill()
        while self.events:
            at, _, trial = heapq.heappop(self.events)
            self.clock.jump(at)
            self._happened(trial)
            self._fill()
            self.searcher.watchdog.look()
        self.clock.charge()

    def get_trials(self) -> Iterable[SimulatedTrial]:
        """For schedulers: those that wait first."""
        return chain(self.pending, self.paused, self.running)

    get_live_trials = get_trials

    def stop_trial(self, trial: SimulatedTrial) -> None:
        """End a trial, as the scheduler wants it; one that runs has told its last epoch."""
        if trial.status in (Trial.PENDING, Trial.PAUSED):
            self.scheduler.on_trial_remove(self, trial)
            self.searcher.on_trial_complete(trial.trial_id)
        elif trial.status == Trial.RUNNING:
            self.scheduler.on_trial_complete(self, trial, trial.last_result)
            self.searcher.on_trial_complete(trial.trial_id, trial.last_result)
        else:
            return
        self._leave(trial, Trial.TERMINATED)

    def pause_trial(self, trial: SimulatedTrial, should_checkpoint: bool = True) -> None:
        """Take a trial's slot until the scheduler chooses it again."""
        self._leave(trial, Trial.PAUSED)
        self.paused[trial] = None

    def _fill(self) -> None:
        """Give free slots to the trials that the scheduler chooses; propose new ones where it has none."""
        while self.free:
            self._propose()
            chosen = self.scheduler.choose_trial_to_run(self) if self.pending or self.paused else None
            if chosen is None:
                return
            self._start(chosen)

    def _propose(self) -> None:
        while not self.over and len(self.pending) < self.ahead:
            trial_id = f"{next(self.numbers):08x}"
            config = self.searcher.suggest(trial_id)
            if not isinstance(config, dict):
                self.over = config is not None
                return
            trial = SimulatedTrial(trial_id, self.searcher.running[trial_id])
            self.pending[trial] = None
            self.scheduler.on_trial_add(self, trial)

    def _start(self, trial: SimulatedTrial) -> None:
        self.pending.pop(trial, None)
        self.paused.pop(trial, None)
        self.running[trial] = None
        self.free -= 1
        resumed = trial.status == Trial.PAUSED
        trial.status, trial.stint, trial.order = Trial.RUNNING, 0.0, len(self.stints)
        self.stints.append(0.0)
        self.searcher.started(trial.trial_id, trial)
        self.clock.charge()
        with self.clock.worker():
            if trial.curve is None:
                trial.curve = self.curves.of(trial.job)
                trial.began = self.clock()
                trial.epoch = min(self.reached.get(trial.job.key, 0), len(trial.curve.epochs))
                self.origins[trial.curve.origin] += 1
        self._next(trial, 0.0 if resumed else trial.curve.before)

    def _next(self, trial: SimulatedTrial, first: float = 0.0) -> None:
        """When it will be heard of again."""
        curve = trial.curve
        assert curve is not None
        seconds = first + (curve.seconds[trial.epoch] if trial.epoch < len(curve.epochs) else curve.after)
        limit = 60 * self.around.minutes
        if limit and trial.spent + seconds > limit:
            seconds = max(0.0, limit - trial.spent)
        trial.stint += seconds
        trial.spent += seconds
        self.clock.charge()
        heapq.heappush(self.events, (self.clock() + seconds, next(self.numbers), trial))

    def _happened(self, trial: SimulatedTrial) -> None:
        curve = trial.curve
        assert curve is not None
        if self.around.minutes and trial.spent >= 60 * self.around.minutes:
            message = f"took more than {self.around.minutes:g} minutes"
            self._ended(trial, Outcome(trial.job.key, "failed", "time-out", message, seconds=trial.spent))
        elif trial.epoch < len(curve.epochs):
            trial.epoch += 1
            self._epoch(trial, curve)
        elif curve.status == "failed" and curve.failure == "lost":
            self._dies(trial, curve)
        else:
            self._ended(trial, self._outcome(trial, curve))

    def _epoch(self, trial: SimulatedTrial, curve: Curve) -> None:
        with self.clock.worker():
            metrics = dict(curve.epochs[trial.epoch - 1])
            result = told(self.around, trial.epoch, metrics, int(trial.job.trial["epochs"]))
        decision = self._report(trial, result)
        if decision == TrialScheduler.STOP:
            self.stop_trial(trial)
        elif decision == TrialScheduler.PAUSE:
            self.pause_trial(trial)
        else:
            self._next(trial)

    def _ended(self, trial: SimulatedTrial, outcome: Outcome) -> None:
        """A worker wrote its row, and tells how it ended."""
        with self.clock.worker():
            curve = trial.curve
            assert curve is not None
            self.ledger.write(_row(trial, curve, outcome, self.around))
            result = {"outcome": json.dumps(vars(outcome))}
        self._report(trial, result)
        self.stop_trial(trial)

    def _report(self, trial: SimulatedTrial, result: dict[str, Any]) -> str:
        result |= {"trial_id": trial.trial_id, "time_total_s": self.clock() - trial.began}
        decision = str(self.scheduler.on_trial_result(self, trial, result))
        self.searcher.heard(trial.trial_id, result)
        trial.last_result = result
        return decision

    def _dies(self, trial: SimulatedTrial, curve: Curve) -> None:
        trial.error = Died(Death("lost", curve.free))
        self.reached[trial.job.key] = trial.epoch
        self.scheduler.on_trial_error(self, trial)
        self.searcher.on_trial_complete(trial.trial_id, error=True)
        self._leave(trial, Trial.ERROR)

    def _outcome(self, trial: SimulatedTrial, curve: Curve) -> Outcome:
        return Outcome(
            trial.job.key, curve.status, curve.failure, curve.message, dict(curve.best), dict(curve.last),
            trial.spent, trace=curve.message,
        )  # fmt: skip

    def _leave(self, trial: SimulatedTrial, status: str) -> None:
        """A trial gives its slot back, or no longer waits for one."""
        if trial.status == Trial.RUNNING:
            self.stints[trial.order] = trial.stint
            self.free += 1
        for where in (self.running, self.pending, self.paused):
            where.pop(trial, None)
        trial.status = status


def run_simulated(
    attempts: Attempts,
    around: Surroundings,
    room: Room,
    observers: list[Observer],
    rule: tuple[Scheduler | None, Literal["max", "min"], int],
    curves: Curves,
    slots: int,
    clock: Clock,
) -> Slots:
    """Run all jobs on simulated slots; returns them, with what they took, when none is left or running.

    Each trial takes one slot. One whose process dies goes on from its last whole epoch.

    Args:
        attempts: where jobs come from. around: what they share. room: what each would take.
        observers: told what happens. rule: which ends trials early, what is better, the most epochs.
        curves: what trials report. slots: how many run at once. clock: of the simulation.
    """
    watchdog = Watchdog(Store(around.store), around.sweep)
    searcher = FeedSearcher(attempts, observers, around, room, watchdog, lambda trial: trial.error, clock)
    together = rule[0].together(rule[2]) if rule[0] else 0
    scheduler = scheduler_of(*rule, lambda: attempts.closed, searcher.leave)
    found = Slots(searcher, scheduler, curves, around, slots, clock, together)
    with _drawing_alike():
        found.run()
    return found


@contextmanager
def _drawing_alike() -> Iterator[None]:
    """ASHA draws a trial's bracket from NumPy's global generator."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)


def _row(trial: SimulatedTrial, curve: Curve, outcome: Outcome, around: Surroundings) -> Any:
    """The row that a worker would write."""
    if outcome.status == "failed":
        return failed_row(trial.job, around, outcome.failure, outcome.message, outcome.seconds)
    assert outcome.status in ("completed", "diverged")
    history = [{"epoch": float(epoch), **metrics} for epoch, metrics in enumerate(curve.epochs, start=1)]
    result = Result(
        outcome.status, dict(curve.best), dict(curve.last), curve.best_epoch, history,
        seconds={"train": outcome.seconds}, message=curve.message,
    )  # fmt: skip
    return trained_row(trial.job, result, around, outcome.seconds)
