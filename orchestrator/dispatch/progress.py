"""Progress of a sweep: counted from events as they come, and read back from the store."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from orchestrator.dispatch.standings import Standings
from orchestrator.planning.cells import CellSeeds
from orchestrator.planning.evaluations import Evaluated
from orchestrator.planning.job import Job, Outcome
from orchestrator.records.lease import driver_of
from orchestrator.records.provenance import now
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.reports.summary import CellSummary
from orchestrator.sweepfile.parts import Metric

RECENT_SECONDS = 300.0
"""What throughput is counted over."""

BEST = 3
"""Cells that are named as the best ones."""


class Progress:
    """Counts what happens to jobs; told by the dispatcher, read by the views, at a cost that no count raises.

    Args:
        name: of the sweep. counts: of its plan. metric: that the best cells are chosen by.
        looks: the plan's evaluations. seeds: that cells shall have; none where nobody knows.

    Attributes:
        state: ``running``, ``draining``, ``done``, ``stopped``, ``failed``.
        unevaluated: the plan's evaluations that have not ended; a search makes others too.
        of_trial: how many of them each trial has while it is not done.
        aside: jobs that other drivers run now, by key. resources: used and all of each kind, of Ray.
    """

    def __init__(
        self,
        name: str,
        counts: Mapping[str, int],
        metric: Metric,
        looks: Evaluated | None = None,
        seeds: Sequence[int] = (),
    ) -> None:
        self.name, self.metric, self.seeds = name, metric, seeds
        self.diverged_before, self.pruned_before = counts.get("diverged", 0), counts.get("pruned", 0)
        self.trials, self.before = counts["trials"], counts["done"] - self.pruned_before
        looks = looks or Evaluated()
        self.evaluations = looks.counts()
        self.unevaluated = {job.key for job in looks.todo}
        self.of_trial = Counter(job.parent for job in looks.todo)
        self.evaluated: Counter[str] = Counter()
        self.trains = True
        self.states: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.reasons: dict[str, dict[str, str]] = {}
        self.running: dict[str, Job] = {}
        self.evaluating: set[str] = set()
        self.aside: Mapping[str, Job] = {}
        self.resources: dict[str, tuple[float, float]] = {}
        self.standings = Standings(metric.mode, seeds)
        self.labels: dict[str, dict[str, Any]] = {}
        self.state, self.began = "running", time.monotonic()
        self.first_start: float | None = None
        self.moved = time.monotonic()
        self.recent: deque[float] = deque(maxlen=100_000)
        self.pruning = threading.Lock()

    def started(self, job: Job) -> None:
        """A job was handed to a worker."""
        self.moved = time.monotonic()
        self.first_start = self.first_start or self.moved
        self.running[job.key] = job
        if job.evaluation is not None:
            self.evaluating.add(job.key)
        self.labels[job.cell] = job.labels

    def epoch(self, job: Job, epoch: int, metrics: dict[str, float]) -> None:
        """An epoch of a job ended: a sign of life."""
        self.moved = time.monotonic()

    def finished(self, job: Job, outcome: Outcome) -> None:
        """A job ended."""
        self.moved = time.monotonic()
        self.running.pop(job.key, None)
        self.evaluating.discard(job.key)
        (self.states if job.evaluation is None else self.evaluated)[outcome.status] += 1
        self.unevaluated.discard(job.key)
        if outcome.status != "stopped":
            self.recent.append(self.moved)
        if outcome.status == "failed":
            kind = outcome.failure or "error"
            self.failures[kind] += 1
            self.reasons.setdefault(kind, {"key": job.key, "reason": outcome.message})
        if outcome.status == "completed":
            self._measured(job.cell, job.seed, outcome.best, outcome.last)

    def again(self, job: Job, outcome: Outcome) -> None:
        """A job failed, and waits to be started once more."""
        self.moved = time.monotonic()
        self.running.pop(job.key, None)
        self.evaluating.discard(job.key)

    def recall(self, jobs: Iterable[Job], rows: Iterable[Row]) -> None:
        """What earlier runs measured, so that the best cells are those of the whole sweep."""
        self.labels.update({job.cell: job.labels for job in jobs})
        for row in rows:
            if row.status == "completed":
                self._measured(row.cell, row.seed, row.measured("best"), row.measured("last"))

    def grown(self, count: int, wanted: Mapping[str, set[int]]) -> None:
        """So many trials are added, since more seeds are wanted of some cells."""
        self.trials += count
        if count and isinstance(self.seeds, CellSeeds):
            self.seeds.by_cell.update(wanted)
            self.standings.grown()

    def _measured(self, cell: str, seed: int, best: dict[str, float], last: dict[str, float]) -> None:
        metrics = best if self.metric.checkpoint == "best" else last
        if self.metric.name in metrics:
            self.standings.told(cell, seed, metrics[self.metric.name])

    @property
    def done(self) -> int:
        """Trials that the ledger holds as trained to their end."""
        return self.before + self.states["completed"] + self.states["diverged"]

    @property
    def pruned(self) -> int:
        """Trials that early stopping ended, in this run or before."""
        return self.pruned_before + self.states["pruned"]

    def eta(self) -> float | None:
        """Seconds that are left, None before the first trial has ended.

        From the rate since the first trial began, the start of Ray left out; trials that run count as
        half done, and evaluations as trials.
        """
        ended = self.states.total() + self.evaluated.total()
        if not ended or self.first_start is None:
            return None
        trials = self.trials - self.done - self.states["failed"] - self.pruned if self.trains else 0
        left = trials + len(self.unevaluated) - len(self.running) / 2
        rate = (ended + len(self.running) / 2) / (time.monotonic() - self.first_start)
        return max(0.0, left / rate)

    def waiting(self) -> int:
        """Jobs that could begin here: trials, where any are trained, and planned evaluations, but for those
        that another driver runs or whose trial it runs."""
        trials = self.counted()["waiting"] if self.trains else 0
        aside = list(self.aside.values())  # the dispatcher changes it meanwhile
        busy = sum(key in self.unevaluated for key in [*self.evaluating, *(job.key for job in aside)])
        held_up = sum(self.of_trial[job.key] for job in aside)
        return trials + max(0, len(self.unevaluated) - busy - held_up)

    def rate(self) -> float | None:
        """Jobs that ended in a minute, over the last ones; None before the first."""
        time_now = time.monotonic()
        with self.pruning:  # several threads look
            while self.recent and self.recent[0] < time_now - RECENT_SECONDS:
                self.recent.popleft()
        if self.first_start is None or not self.states.total() + self.evaluated.total():
            return None
        return 60 * len(self.recent) / max(1e-3, min(RECENT_SECONDS, time_now - self.first_start))

    def counted(self) -> dict[str, int]:
        """Trials by their state; each is in one."""
        running = len(self.running) - len(self.evaluating)
        aside = sum(job.evaluation is None for job in list(self.aside.values()))
        diverged = self.diverged_before + self.states["diverged"]
        ended = self.done + self.states["failed"] + self.pruned
        return {
            "waiting": max(0, self.trials - ended - running - aside),
            "running": running,
            "done": self.done - diverged,
            "diverged": diverged,
            "pruned": self.pruned,
            "failed": self.states["failed"],
            "elsewhere": aside,
        }

    def top(self, count: int = BEST) -> list[dict[str, Any]]:
        """The best cells so far, those with all of their seeds first."""
        return [place(one, self.labels.get(one.cell, {})) for one in self.standings.best(count)]

    def snapshot(self) -> dict[str, Any]:
        """All of it as plain JSON values, for the views here and in another shell."""
        top = self.top()
        return {
            "version": 2,
            "sweep": self.name,
            "state": self.state,
            "trials": self.trials,
            "states": self.counted(),
            "done": self.done,
            "running": len(self.running),
            "failed": self.states["failed"],
            "failures": dict(self.failures),
            "reasons": dict(self.reasons),
            "diverged": self.states["diverged"],
            "evaluations": self._evaluations(),
            "rate": self.rate(),
            "eta_seconds": self.eta(),
            "elapsed_seconds": time.monotonic() - self.began,
            "idle_seconds": time.monotonic() - self.moved,
            "metric": self.metric.name,
            "best": best_of(top, self.metric.name),
            "top": top,
            "resources": dict(self.resources),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "updated": now(),
        }

    def _evaluations(self) -> dict[str, int]:
        """Counts of the evaluations as they stand now; none where none is asked for."""
        if not self.evaluations:
            return {}
        done = self.evaluations["done"] + self.evaluated["completed"]
        failed, lost = self.evaluated["failed"], self.evaluations["impossible"]
        total = max(self.evaluations["evaluations"], done + failed + lost)  # a search asks as it goes
        return {"evaluations": total, "done": done, "failed": failed, "impossible": lost}

    def json(self) -> bytes:
        """The snapshot as a file's content."""
        return json.dumps(self.snapshot(), indent=1).encode()


def place(cell: CellSummary, labels: Mapping[str, Any]) -> dict[str, Any]:
    """A cell among the best ones: its mean, of how many seeds of those planned, and the 95 % interval where
    there is one."""
    low, high = cell.interval
    interval = [low, high] if cell.n > 1 else None
    return {
        "cell": cell.cell, "labels": dict(labels), "mean": cell.mean, "seeds": cell.n,
        "planned": cell.planned, "interval": interval,
    }  # fmt: skip


def best_of(top: list[dict[str, Any]], metric: str) -> dict[str, Any] | None:
    """The best cell as the first versions wrote it, and of how many planned seeds it is."""
    if not top:
        return None
    return {
        "labels": top[0]["labels"], metric: top[0]["mean"], "seeds": top[0]["seeds"],
        "planned": top[0]["planned"],
    }  # fmt: skip


def progress_of(store: Store, name: str) -> dict[str, Any] | None:
    """What the driver of a sweep wrote last; None where none has run."""
    content = store.get(f"sweeps/{name}/progress.json")
    if content is None:
        return None
    progress: dict[str, Any] = json.loads(content)
    if progress["state"] in ("running", "draining") and driver_of(store, name) is None:
        progress["state"] = "interrupted"
    return progress


def told_already(store: Store, progress: Progress) -> bool:
    """Whether a run that ended has left just these counts."""
    with suppress(OSError):
        last = progress_of(store, progress.name)
        return (
            last is not None and last["state"] == progress.state and last.get("states") == progress.counted()
        )
    return False
