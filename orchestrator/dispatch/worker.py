"""What runs where a trial trains: the job unpacked, the engine called, the row written."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from engine.checkpoint import RESUME
from engine.components import load_plugin
from engine.config import Trial
from engine.distributed import Workers, default_device
from engine.errors import InputError
from engine.files import write_atomic
from engine.identity import CONTRACT, canonical, data_hash
from engine.report import Event, Report, Signal
from engine.train import Result, train
from orchestrator.dispatch.checkpoints import Checkpoints
from orchestrator.dispatch.gang import GangLost
from orchestrator.dispatch.shipping import unpack
from orchestrator.planning.job import Job, Outcome, Surroundings, stop_flag
from orchestrator.records.ledger import Ledger
from orchestrator.records.provenance import device_name, now, versions
from orchestrator.records.row import FailureClass, Row
from orchestrator.records.store import Store

Train = Callable[[Trial, Report, Job, Surroundings], Result]
"""How a trial is trained: by this process, or by a gang of workers."""

POLL_SECONDS = 1.0
"""Time between two looks at the store for a request to stop."""


def run_job(job: Job, around: Surroundings, report: Report, train_with: Train | None = None) -> Outcome:
    """Train one job and write its row.

    Whatever goes wrong in it becomes a failed row, with its class and traceback; only the death of the
    process does not, which the dispatcher sees.
    """
    store, start = Store(around.store), time.perf_counter()
    with _log(store, job):
        try:
            trial = prepare(job, around)
            result = (train_with or train_here)(trial, report, job, around)
        except GangLost:
            raise  # Tune starts the trial again
        except Exception as error:  # the boundary of a trial: recorded, not raised
            logging.getLogger("perturb.trial").exception("trial %s failed", job.key[:12])
            row = failed_row(job, failure_class(error), traceback.format_exc())
            Ledger(store).write(row)
            message = str(error).splitlines()[0] if str(error) else type(error).__name__
            return Outcome(job.key, "failed", row.failure, message, seconds=time.perf_counter() - start)
    seconds = time.perf_counter() - start
    if result.status == "stopped":
        return Outcome(job.key, "stopped", seconds=seconds)
    row = _row(job, trial, result, around, seconds)
    Ledger(store).write(row)
    if job.keep == "none":
        store.remove_folder(f"checkpoints/{job.key}")
    else:
        store.remove(f"checkpoints/{job.key}/{RESUME}")
    return Outcome(job.key, result.status, None, result.message, row.best, row.last, seconds)


def prepare(job: Job, around: Surroundings) -> Trial:
    """This process made ready for a job: plugins, data folder, threads; the trial checked again."""
    import torch

    for name, source in around.plugins:
        path = Path(tempfile.gettempdir()) / f"perturb-plugins-{os.getpid()}" / name
        write_atomic(path, source.encode())
        load_plugin(path)
    unpack(around.files)
    if around.data_root:
        os.environ.setdefault("PERTURB_DATA", around.data_root)
    torch.set_num_threads(max(1, int(around.cpus)))
    return Trial.model_validate(job.trial)


def train_here(
    trial: Trial, report: Report, job: Job, around: Surroundings, workers: Workers | None = None
) -> Result:
    """Train in this process: alone, or as one of several workers."""
    if workers is None:
        workers = Workers(device=default_device()) if around.gpu else Workers()
    store = Store(around.store)
    checkpoints = Checkpoints(store, job.key)
    with ExitStack() as stack:
        folder = stack.enter_context(checkpoints)
        parent = None
        if job.parent is not None:
            parent = stack.enter_context(Checkpoints(store, job.parent)) / f"{job.checkpoint}.pt"
        return train(
            trial, report, folder, workers=workers, keep=job.keep, parent=parent, saved=checkpoints.saved
        )


class Reporter:
    """The report of a trial: logs epochs, forwards them, and looks for a request to stop.

    Args:
        around: the sweep's surroundings.
        forward: given (epoch, metrics) at the end of each epoch.
    """

    def __init__(self, around: Surroundings, forward: Callable[[int, dict[str, float]], None]) -> None:
        self.store, self.forward = Store(around.store), forward
        self.flag, self.looked, self.stopping = stop_flag(around.sweep), 0.0, False

    def __call__(self, event: Event) -> Signal:
        """Told by the engine after each step."""
        if event.metrics:
            shown = "  ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
            logging.getLogger("perturb.trial").info("epoch %d  %s", event.epoch, shown)
            self.forward(event.epoch, dict(event.metrics))
        if time.monotonic() - self.looked > POLL_SECONDS:
            self.looked = time.monotonic()
            self.stopping = self.store.exists(self.flag)
        return "stop" if self.stopping else "continue"


def failure_class(error: BaseException) -> FailureClass:
    """Which policy a failure falls under."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return "out of memory"
    return "data" if isinstance(error, InputError) else "error"


def failed_row(job: Job, failure: FailureClass | None, error: str) -> Row:
    """The row of a trial that did not finish."""
    trial = Trial.model_validate(job.trial)
    return Row(
        key=job.key, cell=job.cell, seed=job.seed, status="failed", trial=job.trial,
        canonical=canonical(trial), failure=failure, error=error, versions=versions(),
        data_hash=data_hash(trial), contract=CONTRACT, host=socket.gethostname(), finished=now(),
    )  # fmt: skip


def _row(job: Job, trial: Trial, result: Result, around: Surroundings, seconds: float) -> Row:
    return Row(
        key=job.key, cell=job.cell, seed=job.seed, status=result.status,  # type: ignore[arg-type]
        trial=job.trial, canonical=canonical(trial), best=result.best, last=result.last,
        best_epoch=result.best_epoch, history=result.history, correct=result.correct,
        examples=result.examples, error=result.message, timings={**result.seconds, "total": seconds},
        device=device_name(around.gpu), workers=around.workers, versions=versions(),
        git_commit=around.git_commit, data_hash=data_hash(trial), contract=CONTRACT,
        host=socket.gethostname(), finished=now(),
    )  # fmt: skip


@contextmanager
def _log(store: Store, job: Job) -> Iterator[None]:
    """The trial's log, kept in the store for ``perturb logs``."""
    logger = logging.getLogger("perturb.trial")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    with tempfile.TemporaryDirectory(prefix="perturb-log-") as temporary:
        path = store.folder(f"logs/{job.key}.log") or Path(temporary) / "log"
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s"))
        logger.addHandler(handler)
        logger.info("trial %s  %s  seed %d", job.key[:12], _words(job.labels), job.seed)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            handler.close()
            if store.local is None:
                store.put(f"logs/{job.key}.log", path.read_bytes())


def _words(labels: dict[str, Any]) -> str:
    return "  ".join(f"{name}={value}" for name, value in labels.items()) or "base trial"
