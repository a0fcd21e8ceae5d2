"""Ends trials from outside: that take too long, that the user cancels, that do not hear a request to stop.

A trial hears a request to stop by itself and checkpoints; ending it from outside costs what it computed
since its last checkpoint. Nothing is ended because it does not answer: a trial says nothing for as long as
an epoch takes.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.planning.job import cancel_flag
from orchestrator.records.failures import FailureClass
from orchestrator.records.store import Store

DRAIN_SECONDS = 50.0
"""After a request to stop, trials have so long to checkpoint."""

GRACE_SECONDS = 60.0
"""Beyond its time a trial has so long to end by itself."""

LOOK_SECONDS = 1.0
"""Time between two looks."""

Ended = tuple[FailureClass, str] | Literal["stopped"]


@dataclass
class _Watched:
    key: str
    trial: Any
    since: float | None = None


class Watchdog:
    """Looks after the trials that run.

    Args:
        store, sweep: where a request to cancel is found. minutes: that a trial may take; 0 for any.
    """

    def __init__(self, store: Store, sweep: str, minutes: float = 0.0) -> None:
        self.store, self.folder, self.minutes = store, cancel_flag(sweep, ""), minutes
        self.running: dict[str, _Watched] = {}
        self.killed: dict[str, Ended] = {}
        self.draining_since: float | None = None
        self.looked = 0.0
        self.cancelled = set[str]()

    def drain(self) -> None:
        """A request to stop was made."""
        self.draining_since = self.draining_since or time.monotonic()

    def started(self, trial_id: str, key: str, trial: Any) -> None:
        """A trial begins."""
        self.running[trial_id] = _Watched(key, trial)

    def stop(self, trial_id: str) -> bool:
        """End a trial that has done nothing yet; whether it has a process."""
        self._kill(trial_id, self.running[trial_id], "stopped")
        return trial_id in self.killed

    def ended(self, trial_id: str, again: bool = False) -> None:
        """A trial ended; a request to cancel it goes with it, unless it is started once more."""
        watched = self.running.pop(trial_id, None)
        self.killed.pop(trial_id, None)
        if watched is not None and not again and watched.key in self.cancelled:
            with suppress(OSError):  # the next run of the sweep removes it
                self.store.remove(f"{self.folder}{watched.key}")

    def ended_by_us(self, trial_id: str) -> Ended | None:
        """Why a trial was ended from here; None where it was not."""
        return self.killed.get(trial_id)

    def look(self) -> None:
        """End what has to be ended; called often, looks once a second."""
        now = time.monotonic()
        if now - self.looked < LOOK_SECONDS:
            return
        self.looked = now
        self._ask_cancelled()
        for trial_id, watched in list(self.running.items()):
            if trial_id not in self.killed:
                why = self._why(watched, now)
                if why is not None:
                    self._kill(trial_id, watched, why)

    def _why(self, watched: _Watched, now: float) -> Ended | None:
        if self.draining_since is not None and now - self.draining_since > DRAIN_SECONDS:
            return "stopped"
        if self.minutes and self._trains(watched, now) > 60 * self.minutes + GRACE_SECONDS:
            return "time-out", f"took more than {self.minutes:g} minutes, and did not end by itself"
        return ("cancelled", "cancelled on request") if watched.key in self.cancelled else None

    def _trains(self, watched: _Watched, now: float) -> float:
        """Seconds since a trial began its log: the start of its process is not its own time."""
        with suppress(OSError):  # a store that is away is asked again
            if watched.since is None and self.store.exists(f"logs/{watched.key}.log"):
                watched.since = now
        return 0.0 if watched.since is None else now - watched.since

    def _ask_cancelled(self) -> None:
        with suppress(OSError):  # a store that is away is asked again
            self.cancelled = set(self.store.names(self.folder))

    def _kill(self, trial_id: str, watched: _Watched, why: Ended) -> None:
        import ray

        actor = watched.trial.temporary_state.ray_actor
        if actor is not None:
            self.killed[trial_id] = why
            ray.kill(actor)
