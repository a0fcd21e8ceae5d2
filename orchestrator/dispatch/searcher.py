"""Our jobs as Ray Tune sees them: a Searcher that suggests them, a Callback that passes events on."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ray.tune import Callback
from ray.tune.search import Searcher

from engine.errors import first_line
from orchestrator.dispatch.deaths import death_of, error_of
from orchestrator.dispatch.late import Late
from orchestrator.dispatch.messages import encode
from orchestrator.dispatch.observer import Observer
from orchestrator.dispatch.room import Room
from orchestrator.dispatch.rows import failed_evaluation, failed_row, pruned_row
from orchestrator.dispatch.watchdog import Watchdog
from orchestrator.planning.attempts import Attempts
from orchestrator.planning.job import Job, Outcome, Surroundings
from orchestrator.records.ledger import Ledger
from orchestrator.records.leftovers import forget
from orchestrator.records.store import Store


class FeedSearcher(Searcher):
    """Suggests jobs; Tune calls these methods from its own loop, in one thread.

    Args:
        attempts: where jobs come from. observers: told what happens. around: what the jobs share.
        room: what each takes. watchdog: ends trials from outside.
        error_of: what was heard of a trial that failed. clock: seconds since any moment.
    """

    def __init__(
        self,
        attempts: Attempts,
        observers: list[Observer],
        around: Surroundings,
        room: Room,
        watchdog: Watchdog,
        error_of: Callable[[Any], BaseException | None] = error_of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.attempts, self.observers, self.around = attempts, observers, around
        self.room, self.watchdog, self.error_of, self.clock = room, watchdog, error_of, clock
        self.running: dict[str, Job] = {}
        self.begun: dict[str, float] = {}
        self.left: set[str] = set()
        self.trials: dict[str, Any] = {}
        self.actors: dict[str, Any] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.history: dict[str, dict[int, dict[str, float]]] = {}
        self.seconds: dict[str, float] = {}
        self.late = Late()

    def suggest(self, trial_id: str) -> Any:
        """The next job; None for "ask again", FINISHED when no more will come."""
        if self.attempts.exhausted and not (self.running and not self.attempts.closed):
            return str(Searcher.FINISHED)  # one that runs may have to be started again
        job = self.attempts.next()
        if job is None:
            return None
        self.running[trial_id] = job
        return {"job": encode(job), **self.room.of(job), **job.settings}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial ended: with an outcome, or because its process died."""
        job = self.running.pop(trial_id, None)
        trial, actor = self.trials.pop(trial_id, None), self.actors.pop(trial_id, None)
        if job is None:
            return
        told = self.outcomes.pop(trial_id, None) or (self._finished(job) if error else None)
        ended = told or (self._died(job, trial, actor) if error else self._ended(trial_id, job))
        if told is None and error and trial_id in self.begun:  # it is paid though it said nothing
            ended = replace(ended, seconds=self.clock() - self.begun[trial_id])
        outcome = self.attempts.ended(job, ended, self.room.widest(job))
        self.watchdog.ended(trial_id, again=outcome.status == "again")
        self.room.learn(job, outcome)
        if told is None and outcome.status == "failed":
            self._record(job, outcome)
        if outcome.status not in ("again", "stopped"):
            self.history.pop(job.key, None)
            self.seconds.pop(job.key, None)
        if trial_id in self.begun or job.attempt > 1 or outcome.status != "stopped":
            for observer in self.observers:
                (observer.again if outcome.status == "again" else observer.finished)(job, outcome)
        self.begun.pop(trial_id, None)
        self.left.discard(trial_id)

    def leave(self, trial_id: str) -> None:
        """A trial that waits is about to be ended, for nothing is to begin any more."""
        self.left.add(trial_id)

    def started(self, trial_id: str, trial: Any) -> None:
        """A trial has got its resources and begins."""
        job = self.running.get(trial_id)
        if job is None:
            return
        self.trials[trial_id] = trial
        # Taken now, for Tune lets go of it before it tells of a death.
        self.actors[trial_id] = trial.temporary_state.ray_actor
        self.watchdog.started(trial_id, job.key, trial)
        # it was not paused, and is none of a population, whose members need each other
        waited = trial_id not in self.begun and job.population is None
        if waited and self.attempts.closed and self.watchdog.stop(trial_id):
            return  # Tune asks for trials ahead of those that run
        self.begun[trial_id] = self.clock()
        for observer in self.observers:
            observer.started(job)

    def heard(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial reported: an epoch, or its outcome."""
        job = self.running.get(trial_id)
        if job is None:
            return
        if "outcome" in result:
            self.outcomes[trial_id] = Outcome(**json.loads(result["outcome"]))
        elif "metrics" in result:
            metrics = json.loads(result["metrics"])
            if self.around.watched:
                self.history.setdefault(job.key, {})[int(result["epoch"])] = metrics
                self.seconds[job.key] = float(result.get("time_total_s", 0.0))
            for observer in self.observers:
                observer.epoch(job, int(result["epoch"]), metrics)

    def _finished(self, job: Job) -> Outcome | None:
        """How a job ended whose process died between its row and its last word."""
        with suppress(OSError):  # a store that is away: it is started again
            found = self.attempts.finished(job)
            if found is not None:
                store = Store(self.around.store)
                self.late.write(lambda: forget(store, job.key, whole=job.evaluation is not None))
            return found
        return None

    def _died(self, job: Job, trial: Any, actor: Any) -> Outcome:
        """What became of a trial that said nothing more."""
        ended = self.watchdog.ended_by_us(trial.trial_id) if trial is not None else None
        if ended == "stopped":
            return Outcome(job.key, "stopped")
        if ended is not None:
            failure, message = ended
            return Outcome(job.key, "failed", failure, message)
        error = self.error_of(trial) if trial is not None else None
        cause = getattr(error, "cause", None) or error
        death = getattr(cause, "death", None) or death_of(actor, error)  # a gang's rank's, or its own
        message = "its node was lost" if death.free else "its process died"
        if cause is not None and not type(error).__name__.startswith("Actor"):
            message = first_line(cause)
        return Outcome(job.key, "failed", death.failure, message, node=death.node, free=death.free)

    def _ended(self, trial_id: str, job: Job) -> Outcome:
        """A trial that the scheduler ended: pruned, unless it waited while nothing was to begin any more."""
        return Outcome(job.key, "stopped") if trial_id in self.left else self._pruned(job)

    def _pruned(self, job: Job) -> Outcome:
        """A trial that early stopping ended: its row holds the epochs that were heard."""
        epochs = [{"epoch": float(e), **m} for e, m in sorted(self.history.get(job.key, {}).items())]
        seconds = self.seconds.pop(job.key, 0.0)
        row = pruned_row(job, self.around, epochs, seconds)
        store = Store(self.around.store)
        self.late.write(lambda: Ledger(store).write(row))
        self.late.write(lambda: store.remove_folder(f"checkpoints/{job.key}"))
        about = "pruned", None, row.error
        return Outcome(job.key, *about, last=row.last, seconds=seconds)  # type: ignore[arg-type]

    def _record(self, job: Job, outcome: Outcome) -> None:
        """The row of a trial that could not write it."""
        ledger, failure = Ledger(Store(self.around.store)), outcome.failure
        message = f"{outcome.message}, after {job.attempt} attempts" if job.attempt > 1 else outcome.message
        if job.evaluation is None:
            row = failed_row(job, self.around, failure, message, outcome.seconds)
            self.late.write(lambda: ledger.write(row))
        else:
            evaluation = failed_evaluation(job, self.around, failure, message, outcome.seconds)
            self.late.write(lambda: ledger.evaluations.write(evaluation))

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher to restore from, which is never done here; the feed holds threads."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a sweep continues from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a sweep continues from the ledger."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: a sweep continues from the ledger."""


def keep_signal(number: int) -> Callable[[], None]:
    """What puts a signal's handler back where it was taken: Tune takes SIGUSR1 when its loop begins."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    handler = signal.getsignal(number)

    def put_back() -> None:
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)

    return put_back


class Listener(Callback):
    """Passes every report of a trial to the searcher, which knows its job."""

    def __init__(self, searcher: FeedSearcher) -> None:
        self.searcher = searcher
        self.signals = keep_signal(signal.SIGUSR1)

    def __getstate__(self) -> dict[str, Any]:
        """As of the searcher."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called by Tune in each turn of its loop."""
        self.signals()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune when a trial has its resources."""
        self.searcher.started(trial.trial_id, trial)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Called by Tune for every report."""
        self.searcher.heard(trial.trial_id, result)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called by Tune in each turn of its loop."""
        self.searcher.watchdog.look()
        self.searcher.late.look()
