"""Ray Tune as the dispatcher: our feed behind a Searcher, trials in reused warm actors.

Measured, and the reasons for what is here (``docs/architecture.md``, section dispatch): a new actor for
each trial costs seconds, a reused one hundredths; Tune's own restore loses trials, so that a sweep
continues from the ledger with a new Tuner; what is done about a trial that dies is for
:mod:`orchestrator.planning.policy` to say, so that to Tune each attempt is a trial of its own, which takes
up its checkpoint from our store.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from orchestrator.dispatch.local import prompt
from orchestrator.dispatch.observer import Observer
from orchestrator.dispatch.room import Room
from orchestrator.dispatch.watchdog import Watchdog
from orchestrator.planning.attempts import Attempts
from orchestrator.planning.job import Job, Surroundings, cancel_flag
from orchestrator.records.store import Store
from orchestrator.sweepfile.schedulers import Scheduler

REPORT_SECONDS = 1.0
"""Least time between two epochs that a trial forwards to the driver; the ledger's row holds them all."""


def run_on_ray(
    attempts: Attempts,
    around: Surroundings,
    room: Room,
    watchdog: Watchdog,
    observers: list[Observer],
    rule: tuple[Scheduler | None, Literal["max", "min"], int] = (None, "max", 1),
    cluster: bool = False,
) -> None:
    """Run all jobs as Ray Tune trials; returns when none is left or running.

    Args:
        attempts: where jobs come from. around: what they share. room: what each takes.
        watchdog: ends trials from outside. observers: told what happens.
        rule: which ends trials early, what is better, and the epochs of the longest trial.
        cluster: whether there may be other machines.
    """
    from ray import tune
    from ray.tune import RunConfig, TuneConfig, Tuner

    from orchestrator.dispatch.scheduler import scheduler_of
    from orchestrator.dispatch.searcher import FeedSearcher, Listener
    from orchestrator.dispatch.trainable import bundles, make_trainable

    searcher = FeedSearcher(attempts, observers, around, room, watchdog)

    def resources(config: dict[str, Any]) -> Any:
        return bundles(config["cpus"], config["gpus"], around.workers, config["avoid"])

    trainable = tune.with_resources(make_trainable(around, REPORT_SECONDS), resources)
    together = rule[0].together(rule[2]) if rule[0] else 0
    with _quiet(together), prompt(), tempfile.TemporaryDirectory(prefix="perturb-tune-") as folder:
        storage = _tune_folder(around, folder) if cluster else folder
        tuner = Tuner(
            trainable,
            tune_config=TuneConfig(
                search_alg=searcher,
                scheduler=scheduler_of(*rule, lambda: attempts.closed, searcher.leave),
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=RunConfig(
                name="sweep",
                storage_path=storage,
                failure_config=tune.FailureConfig(max_failures=0),  # attempts are ours to count
                callbacks=[Listener(searcher)],
                verbose=0,
            ),
        )
        try:
            tuner.fit()
            if attempts.closed:  # what the store still refuses is run again
                searcher.late.look()
            else:
                searcher.late.close()
        finally:
            if storage != folder:
                shutil.rmtree(storage, ignore_errors=True)


def run_here(attempts: Attempts, around: Surroundings, observers: list[Observer]) -> None:
    """Run all jobs in this process, one after the other; the same rows come of it."""
    from orchestrator.dispatch.evaluation import run_evaluation
    from orchestrator.dispatch.worker import Reporter, run_job

    while not attempts.exhausted:
        job = attempts.next()
        if job is None:
            time.sleep(0.01)
            continue
        for observer in observers:
            observer.started(job)

        def forward(epoch: int, metrics: dict[str, float], job: Job = job) -> None:
            for observer in observers:
                observer.epoch(job, epoch, metrics)

        if job.evaluation is None:
            outcome = run_job(job, around, Reporter(around, forward, job.key))
        else:
            outcome = run_evaluation(job, around)
        outcome = attempts.ended(job, outcome)
        if outcome.status != "again":
            _uncancel(attempts, around, job)
        for observer in observers:
            (observer.again if outcome.status == "again" else observer.finished)(job, outcome)


def _uncancel(attempts: Attempts, around: Surroundings, job: Job) -> None:
    """A request to cancel goes with its job; the user is told of one that an evaluation did not hear."""
    store, flag = Store(around.store), cancel_flag(around.sweep, job.key)
    with suppress(OSError):  # the next run of the sweep removes it
        if job.evaluation is not None and store.exists(flag):
            attempts.say(f"evaluation {job.key[:12]} was not cancelled: without Ray it is waited for")
        store.remove(flag)


def _tune_folder(around: Surroundings, temporary: str) -> str:
    """Tune's own bookkeeping: thrown away, but all nodes of a cluster must see it."""
    local = Store(around.store).folder(f"sweeps/{around.sweep}/.tune")
    return temporary if local is None else str(local)


@contextmanager
def _quiet(together: int) -> Iterator[None]:
    """Tune without its own loggers, signal handler and warnings; the sweep has its own.

    Args:
        together: trials that it queues at once; 0 for as many as it likes.
    """
    settings = {
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "3600",
        "TUNE_GLOBAL_CHECKPOINT_S": "3600",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    }
    if together:
        settings["TUNE_MAX_PENDING_TRIALS_PG"] = str(together)
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    # a trial whose process died is told by its row; Tune would print its traceback at every attempt
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
