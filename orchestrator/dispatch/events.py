"""What happens in a run as JSON, one object a line: ``perturb run --json``.

Every object has ``version`` (1), ``event``, ``time`` (ISO 8601, UTC) and ``sweep``. Fields may be added under the
same version; a field that goes, or means something else, raises it.

| event | further fields |
|---|---|
| ``sweep_started`` | ``cells``, ``points``, ``trials``, ``done``, ``failed``, ``todo``, ``diverged``, ``pruned``: of the plan; ``evaluations``: its counts, empty for none |
| ``trial_started`` | ``key``, ``cell``, ``seed``, ``labels``; ``evaluation``: its label, null for a trial that trains |
| ``epoch`` | ``key``, ``epoch`` from 1, ``metrics``; of one trial at most one in :data:`EPOCH_SECONDS` |
| ``trial_again`` | as ``trial_started``, and ``failure``, ``message``: it failed, and is started once more |
| ``trial_finished`` | as ``trial_started``, and ``status`` (completed, diverged, pruned, failed, stopped), ``failure``: its class or null, ``message``, ``best``, ``last``: metrics, ``seconds`` |
| ``progress`` | the snapshot that ``perturb status --json`` gives; one in :data:`PROGRESS_SECONDS` |
| ``warning`` | ``message`` |
| ``sweep_ended`` | ``state`` (done, failed, stopped, error), ``exit_code``, ``trials``, ``done``, ``failed``, ``todo``, ``evaluations``, ``failures``: by class, ``report``, ``message``: why it stopped; after an error only ``state``, ``exit_code`` and ``message`` |

Infinite numbers and NaN, which JSON has not, are null.
"""  # noqa: E501  a table

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from engine.errors import InputError
from orchestrator.dispatch.progress import Progress
from orchestrator.planning.job import Job, Outcome
from orchestrator.records.provenance import now

if TYPE_CHECKING:
    from orchestrator.options import Ended

VERSION = 1
"""Of the objects."""

EPOCH_SECONDS = 1.0
"""Least time between two epochs of one trial."""

PROGRESS_SECONDS = 5.0
"""Time between two objects of progress."""


class Events(logging.Handler):
    """Writes the events of one run; an observer of its jobs, and the handler of its warnings.

    A reader that goes away costs the events, not the run.

    Args:
        stream: written to, a line at a time.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(logging.WARNING)
        self.stream, self.sweep = stream, ""
        self.lines = threading.Lock()
        self.last_epoch: dict[str, float] = {}
        self.last_progress = 0.0

    def begun(self, sweep: str, counts: Mapping[str, int], evaluations: Mapping[str, int]) -> None:
        """A run begins; counts as its plan gives them."""
        self.sweep = sweep
        self._say("sweep_started", **counts, evaluations=dict(evaluations))

    def started(self, job: Job) -> None:
        """A worker begins a job."""
        self._say("trial_started", **_names(job))

    def epoch(self, job: Job, epoch: int, metrics: dict[str, float]) -> None:
        """An epoch has ended."""
        time_now = time.monotonic()
        if time_now - self.last_epoch.get(job.key, -math.inf) < EPOCH_SECONDS:
            return
        self.last_epoch[job.key] = time_now
        self._say("epoch", key=job.key, epoch=epoch, metrics=metrics)

    def again(self, job: Job, outcome: Outcome) -> None:
        """A job failed, and waits to be started once more."""
        self._say("trial_again", **_names(job), failure=outcome.failure, message=outcome.message)

    def finished(self, job: Job, outcome: Outcome) -> None:
        """A job ended."""
        self.last_epoch.pop(job.key, None)
        self._say(
            "trial_finished", **_names(job), status=outcome.status, failure=outcome.failure,
            message=outcome.message, best=outcome.best, last=outcome.last, seconds=outcome.seconds,
        )  # fmt: skip

    def progress(self, progress: Progress) -> None:
        """Time has passed."""
        if time.monotonic() - self.last_progress >= PROGRESS_SECONDS:
            self.last_progress = time.monotonic()
            found = progress.snapshot()
            self._say("progress", **{k: v for k, v in found.items() if k not in ("sweep", "version")})

    def warning(self, message: str) -> None:
        """Something that the user should know."""
        self._say("warning", message=message)

    def emit(self, record: logging.LogRecord) -> None:
        """A warning that was logged."""
        self.warning(record.getMessage())

    def ended(self, ended: Ended) -> None:
        """The run ended in its own way."""
        counts = {name: ended.counts[name] for name in ("trials", "done", "failed", "todo")}
        self._say(
            "sweep_ended", state=ended.state, exit_code=ended.exit_code, **counts,
            evaluations=ended.evaluations, failures=ended.failures, report=ended.report,
            message=ended.stopped,
        )  # fmt: skip

    def died(self, error: BaseException) -> None:
        """The run ended by an exception."""
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        code = 75 if isinstance(error, KeyboardInterrupt) else 2 if isinstance(error, InputError) else 1
        self._say("sweep_ended", state="error", exit_code=code, message=text)

    def _say(self, event: str, **fields: Any) -> None:
        told = {"version": VERSION, "event": event, "time": now(), "sweep": self.sweep, **_plain(fields)}
        text = json.dumps(told, allow_nan=False, default=str) + "\n"
        with self.lines:
            try:
                self.stream.write(text)
                self.stream.flush()
            except (OSError, ValueError):  # closed at the other end, or here
                return


def _names(job: Job) -> dict[str, Any]:
    return {
        "key": job.key, "cell": job.cell, "seed": job.seed, "labels": job.labels,
        "evaluation": job.label or None,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int)):
        return value  # first, for most are, and whether something is a mapping takes long to tell
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (dict, Mapping)):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
