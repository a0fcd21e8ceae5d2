"""What runs where a trial is evaluated: its weights fetched, the engine called, the row written.

An evaluation's row never touches its trial's. It answers no request to stop: one that runs is waited for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from engine.config import Trial
from engine.distributed import Workers
from engine.errors import InputError
from engine.evaluations.base import Findings
from orchestrator.dispatch.checkpoints import Checkpoints
from orchestrator.dispatch.deaths import GangLost
from orchestrator.dispatch.outages import through_outages
from orchestrator.dispatch.rows import evaluated_row, failed_evaluation
from orchestrator.dispatch.worker import (
    alone,
    config_of,
    failed_outcome,
    failure_class,
    logged,
    prepare,
    trace_of,
)
from orchestrator.planning.job import Job, Outcome, Surroundings
from orchestrator.records.ledger import Ledger
from orchestrator.records.patience import patiently
from orchestrator.records.store import Store

Evaluate = Callable[[Trial, Job, Surroundings], Findings]
"""How a checkpoint is evaluated: by this process, or by a gang of workers."""


def run_evaluation(job: Job, around: Surroundings, evaluate_with: Evaluate | None = None) -> Outcome:
    """Evaluate one checkpoint and write the evaluation's row.

    Whatever goes wrong in it becomes a failed row, with its class and traceback; only the death of the
    process does not, which the dispatcher sees.
    """
    store, start = Store(around.store), time.perf_counter()
    logger = logging.getLogger("perturb.trial")
    with logged(store, job):
        try:
            trial = prepare(job, around)
            findings = through_outages(store, lambda: (evaluate_with or evaluate_here)(trial, job, around))
            row = evaluated_row(job, findings, around, time.perf_counter() - start)
        except GangLost:
            raise  # Tune starts the evaluation again
        except Exception as error:  # noqa: BLE001 the boundary of an evaluation: recorded, not raised
            seconds, failure, trace = time.perf_counter() - start, failure_class(error), trace_of(error)
            logger.error("evaluation %s failed\n%s", job.key[:12], trace.rstrip())
            failed = failed_evaluation(job, around, failure, trace, seconds)
            patiently(lambda: Ledger(store).evaluations.write(failed))
            with suppress(OSError):
                if not store.names(f"checkpoints/{job.key}"):
                    store.remove_folder(f"checkpoints/{job.key}")
            return failed_outcome(job, failure, error, seconds)
        logger.info("%s", "  ".join(f"{name} {value:.4f}" for name, value in row.metrics.items()))
    patiently(lambda: Ledger(store).evaluations.write(row))
    with suppress(OSError):  # as of a trial
        store.remove_folder(f"checkpoints/{job.key}")
    named = {f"{job.label}.{name}": value for name, value in row.metrics.items()}
    return Outcome(job.key, "completed", best=named, last=named, seconds=row.seconds)


def evaluate_here(trial: Trial, job: Job, around: Surroundings, workers: Workers | None = None) -> Findings:
    """Evaluate in this process: alone, or as one of several workers."""
    from engine.evaluations.run import evaluate_checkpoint

    assert job.parent is not None
    workers, store = workers or alone(around), Store(around.store)
    own = Checkpoints(store, job.key)
    with ExitStack() as stack:
        weights = stack.enter_context(Checkpoints(store, job.parent)) / f"{job.checkpoint}.pt"
        if not weights.is_file():
            legal = (
                f"the {job.checkpoint} weights of trial {job.parent[:12]}; perturb run --retrain makes them"
            )
            raise InputError("checkpoint", job.checkpoint, legal)
        folder = stack.enter_context(own)
        folder.mkdir(parents=True, exist_ok=True)
        if workers.rank == 0:
            stack.callback(own.put_back)
        return evaluate_checkpoint(trial, config_of(job), weights, workers=workers, folder=folder)
