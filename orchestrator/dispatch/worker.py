"""What runs where a trial trains: the job unpacked, the engine called, the row written."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from engine.checkpoint import Member
from engine.components import find, load_plugin
from engine.config import Trial
from engine.distributed import Workers, default_device
from engine.errors import InputError, first_line
from engine.evaluations.base import EvaluationConfig
from engine.files import write_atomic
from engine.identity import evaluation_key, member_key, trial_key
from engine.report import Event, Report, Signal
from engine.result import Result
from engine.train import train
from orchestrator.dispatch.checkpoints import Checkpoints
from orchestrator.dispatch.deaths import GangLost
from orchestrator.dispatch.outages import through_outages
from orchestrator.dispatch.raised import cause_of, raised
from orchestrator.dispatch.rounds import Rounds
from orchestrator.dispatch.rows import failed_row, trained_row
from orchestrator.dispatch.shipping import unpack
from orchestrator.planning.job import Job, Outcome, Surroundings, cancel_flag, stop_flag
from orchestrator.planning.population import varied
from orchestrator.records.failures import FailureClass
from orchestrator.records.ledger import Ledger
from orchestrator.records.leftovers import forget
from orchestrator.records.patience import patiently
from orchestrator.records.store import Store

Train = Callable[[Trial, Report, Job, Surroundings], Result]
"""How a trial is trained: by this process, or by a gang of workers."""

BROKEN = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV, errno.EMFILE}
"""Errors of the operating system that say something of the node, not of the trial."""

BROKEN_GPU = ("CUDA error", "NCCL error", "NCCL Error", "ECC error", "No CUDA GPUs are available")
"""Words of torch's errors that say so of a GPU or the network between GPUs."""

POLL_SECONDS = 1.0
"""Time between two looks at the store for a request to stop."""

CHECKPOINT_SECONDS = 60.0
"""Time between two checkpoints that are asked for in the middle of an epoch."""


class Cancelled(RuntimeError):
    """The user has asked for the trial's end."""


def run_job(job: Job, around: Surroundings, report: Report, train_with: Train | None = None) -> Outcome:
    """Train one job and write its row.

    Whatever goes wrong in it becomes a failed row, with its class and traceback; only the death of the
    process does not, which the dispatcher sees.
    """
    store, start = Store(around.store), time.perf_counter()
    with logged(store, job):
        try:
            trial = prepare(job, around)
            result = through_outages(store, lambda: (train_with or train_here)(trial, report, job, around))
        except GangLost:
            raise  # Tune starts the trial again
        except Exception as error:  # noqa: BLE001 the boundary of a trial: recorded, not raised
            seconds, trace = time.perf_counter() - start, trace_of(error)
            logging.getLogger("perturb.trial").error("trial %s failed\n%s", job.key[:12], trace.rstrip())
            row = failed_row(job, around, failure_class(error), trace, seconds)
            patiently(lambda: Ledger(store).write(row))
            return failed_outcome(job, row.failure, error, seconds)
    seconds = time.perf_counter() - start
    if result.status == "stopped":
        return Outcome(job.key, "stopped", seconds=seconds)
    row = trained_row(job, result, around, seconds)
    patiently(lambda: Ledger(store).write(row))
    with suppress(OSError):  # the row is there; what is left behind is taken up by nobody
        forget(store, job.key)
    about = result.status, None, result.message
    return Outcome(job.key, *about, row.best, row.last, seconds, memory=row.memory)


def prepare(job: Job, around: Surroundings) -> Trial:
    """This process made ready for a job: plugins, data folder, threads; the trial checked again."""
    import torch

    for name, source in around.plugins:
        path = Path(tempfile.gettempdir()) / f"perturb-plugins-{os.getpid()}" / name
        write_atomic(path, source)
        load_plugin(path)
    unpack(around.files)
    if around.data_root:
        os.environ.setdefault("PERTURB_DATA", around.data_root)
    torch.set_num_threads(max(1, int(around.cpus)))
    trial = Trial.model_validate(job.trial)
    if job.population is not None:
        key = member_key(trial, job.population)
    else:
        key = trial_key(trial) if job.evaluation is None else evaluation_key(trial, config_of(job))
    if key != job.key:
        legal = "the driver's code, plugins and word vectors on this node too"
        raise InputError("key", f"{key[:12]} in place of {job.key[:12]}", legal)
    return Trial.model_validate(varied(job.trial, job.lineage[-1]["settings"])) if job.lineage else trial


def config_of(job: Job) -> EvaluationConfig:
    """The settings of an evaluation's job."""
    assert job.evaluation is not None
    found = find("evaluations", job.evaluation["name"], "evaluations.name")
    config: EvaluationConfig = found.model_validate(job.evaluation)  # type: ignore[attr-defined]
    return config


def train_here(
    trial: Trial, report: Report, job: Job, around: Surroundings, workers: Workers | None = None
) -> Result:
    """Train in this process: alone, or as one of several workers."""
    workers = workers or alone(around)
    store = Store(around.store)
    checkpoints = Checkpoints(store, job.key)
    with ExitStack() as stack:
        folder = stack.enter_context(checkpoints)
        parent = None
        if job.parent is not None:
            parent = stack.enter_context(Checkpoints(store, job.parent)) / f"{job.checkpoint}.pt"
        saved, more = checkpoints.saved, dict[str, Any]()
        if job.population is not None:
            rounds = Rounds(job, store, around.every, report, saved)
            report, saved, more = rounds.heard, rounds.saved, {"member": Member(job.key, tuple(job.lineage))}
        result: Result = training(trial)(
            trial, report, folder, workers=workers, keep=job.keep, parent=parent, saved=saved,
            micro=around.micro, **more,
        )  # fmt: skip
        return result


def training(trial: Trial) -> Callable[..., Result]:
    """What trains a trial: the engine's loop, or that which its model brings along."""
    own: Callable[..., Result] | None = find("models", trial.model["name"], "model.name").training  # type: ignore[attr-defined]
    return own or train


def alone(around: Surroundings) -> Workers:
    """This process as the only worker."""
    return Workers(device=default_device()) if around.gpu else Workers()


class Reporter:
    """The report of a trial: logs epochs, forwards them, looks for a request to stop, asks for checkpoints.

    It raises TimeoutError where the trial takes longer than it may, Cancelled where the user ends it.

    Args:
        around: the sweep's surroundings.
        forward: given (epoch, metrics) at the end of each epoch.
        key: of the trial, where no watchdog looks for a request to cancel it; else empty.
    """

    def __init__(
        self, around: Surroundings, forward: Callable[[int, dict[str, float]], None], key: str = ""
    ) -> None:
        self.store, self.forward = Store(around.store), forward
        self.flags = [stop_flag(around.sweep), *([around.stop] if around.stop else [])]
        self.cancel = cancel_flag(around.sweep, key) if key else ""
        self.looked, self.stopping = 0.0, False
        self.saved = self.began = time.monotonic()
        self.minutes, self.pauses = around.minutes, around.pauses
        self.held: tuple[int, dict[str, float]] | None = None

    def __call__(self, event: Event) -> Signal:
        """Told by the engine after each step."""
        if self.held is not None:
            held, self.held = self.held, None
            self.forward(*held)
        if event.metrics:
            shown = "  ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
            logging.getLogger("perturb.trial").info("epoch %d  %s", event.epoch, shown)
            if self.pauses:  # told when its checkpoint is written: the trial may be made to wait there
                self.held = event.epoch, dict(event.metrics)
                return "checkpoint"
            self.forward(event.epoch, dict(event.metrics))
        time_now = time.monotonic()
        if time_now - self.looked > POLL_SECONDS:
            self.looked = time_now
            with suppress(OSError):  # a store that is away asks for nothing
                self.stopping = any(map(self.store.exists, self.flags))
                if self.cancel and self.store.exists(self.cancel):
                    raise Cancelled("cancelled on request")
            if self.minutes and time_now - self.began > 60 * self.minutes:
                raise TimeoutError(f"took more than {self.minutes:g} minutes")
        if self.stopping:
            return "stop"
        if time_now - self.saved > CHECKPOINT_SECONDS:  # an epoch may be longer than one wants to lose
            self.saved = time_now
            return "checkpoint"
        return "continue"


def failure_class(error: BaseException) -> FailureClass:
    """Which policy a failure falls under (:mod:`orchestrator.planning.policy`)."""
    import torch

    error = cause_of(error)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return "out of memory"
    if isinstance(error, TimeoutError):
        return "time-out"
    if isinstance(error, Cancelled):
        return "cancelled"
    if isinstance(error, OSError) and error.errno in BROKEN:
        return "node"
    if isinstance(error, RuntimeError) and any(word in str(error) for word in BROKEN_GPU):
        return "error" if "device-side assert" in str(error) else "node"
    return "data" if isinstance(error, InputError) else "error"


def failed_outcome(job: Job, failure: FailureClass | None, error: BaseException, seconds: float) -> Outcome:
    """What the driver hears of an exception; a rank's is told as if it had been raised here."""
    rank = raised(error)
    if rank is None:
        kind, message = type(error).__name__, first_line(error)
        frames = [(one.filename, one.lineno or 0) for one in traceback.extract_tb(error.__traceback__)]
    else:
        kind, message, frames = rank.kind, rank.message, rank.frames
    # a plugin's folder is another one in every process
    place = "".join(f"{kind} {Path(file).name}:{line}" for file, line in frames[-1:])
    return Outcome(
        job.key, "failed", failure, message, seconds=seconds, place=place, trace=trace_of(error)
    )  # fmt: skip


def trace_of(error: BaseException) -> str:
    """The traceback of an exception, where it was raised: here or in a rank."""
    rank = raised(error)
    return "".join(traceback.format_exception(error)) if rank is None else f"{rank.trace}\n"


def capacity(gpu: bool) -> int:
    """Bytes of memory of this process's GPU; 0 where it has none."""
    import torch

    return torch.cuda.get_device_properties(0).total_memory if gpu and torch.cuda.is_available() else 0


@contextmanager
def logged(store: Store, job: Job) -> Iterator[None]:
    """The job's log, kept in the store for ``perturb logs``; a store that refuses it costs the log alone."""
    logger = logging.getLogger("perturb.trial")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    with tempfile.TemporaryDirectory(prefix="perturb-log-") as temporary:
        path = store.folder(f"logs/{job.key}.log") or Path(temporary) / "log"
        handler = _Log(path)
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s"))
        logger.addHandler(handler)
        what = f"{job.label} of trial {job.parent[:12]}" if job.parent and job.label else "trial"
        logger.info("%s %s  %s  seed %d", what, job.key[:12], _words(job.labels), job.seed)
        _put_log(store, job, path)  # by its first line others tell that the job has begun
        try:
            yield
        finally:
            logger.removeHandler(handler)
            with suppress(OSError):
                handler.close()
            _put_log(store, job, path)


def _put_log(store: Store, job: Job, path: Path) -> None:
    """The log as far as it goes, where the store is no folder in which it is written."""
    if store.local is None:
        with suppress(OSError):
            store.put(f"logs/{job.key}.log", path.read_bytes())


class _Log(logging.FileHandler):
    """A log file that is opened with its first line, and that does without lines which it cannot take."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self.path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A line that the file does not take; the program goes on."""


def _words(labels: dict[str, Any]) -> str:
    return "  ".join(f"{name}={value}" for name, value in labels.items()) or "base trial"
