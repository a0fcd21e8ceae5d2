"""The function that Ray Tune runs for each trial, and the resources that it takes."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.dispatch.messages import EPOCH, VALUE, decode
from orchestrator.dispatch.rounds import SETTINGS
from orchestrator.planning.job import Surroundings


def bundles(cpus: float, gpus: float, workers: int, avoid: Sequence[str] = ()) -> Any:
    """A trial's placement group, on as few nodes as it fits.

    Alone, a trial trains in Tune's own process. With several workers that process only waits, in an
    empty bundle which Ray leaves out, and worker i sits in bundle i.

    Args:
        cpus, gpus: of each worker. avoid: ids of nodes that it must not be on.
    """
    from ray.tune import PlacementGroupFactory

    one: dict[str, int | float] = {"CPU": cpus, "GPU": gpus}
    each = [one] if workers == 1 else [{"CPU": 0.0}, *[one] * workers]
    if not avoid:
        return PlacementGroupFactory(each, strategy="PACK")
    elsewhere = {"ray.io/node-id": f"!in({','.join(avoid)})"}
    return PlacementGroupFactory(each, strategy="PACK", bundle_label_selector=[elsewhere] * workers)


def told(around: Surroundings, epoch: int, metrics: dict[str, float], epochs: int) -> dict[str, Any]:
    """An epoch as it is reported to Tune.

    A scheduler is shown its value, but for one that is not finite, and that of the last epoch: the trial is
    about to end by itself.
    """
    report: dict[str, Any] = {EPOCH: epoch, "metrics": json.dumps(metrics)}
    value = metrics.get(around.watched, math.nan)
    return report | ({VALUE: value} if math.isfinite(value) and epoch < epochs else {})


def make_trainable(around: Surroundings, report_seconds: float) -> Callable[[dict[str, Any]], None]:
    """The trainable of a sweep; imports and data are paid once by each process, not by each trial."""

    def perturb_trial(config: dict[str, Any]) -> None:
        import ray
        from ray import tune

        from orchestrator.dispatch.evaluation import evaluate_here, run_evaluation
        from orchestrator.dispatch.gang import evaluate_with_gang, train_with_gang
        from orchestrator.dispatch.member import train_member
        from orchestrator.dispatch.worker import Reporter, capacity, run_job, train_here

        os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "60")  # a gang takes longer than 2 s to rest
        job, gang = decode(config["job"]), around.workers > 1
        here = replace(around, cpus=config["cpus"])
        spoke = time.monotonic()

        def forward(epoch: int, metrics: dict[str, float]) -> None:
            nonlocal spoke
            if around.watched or time.monotonic() - spoke > report_seconds:
                spoke = time.monotonic()
                tune.report(told(around, epoch, metrics, job.trial["epochs"]))

        def tell(epoch: int, metrics: dict[str, float], settings: dict[str, Any]) -> None:
            held = {SETTINGS: json.dumps(settings)}
            tune.report(told(around, epoch, metrics, job.trial["epochs"]) | held)

        if job.population is not None:
            train_with = train_with_gang if gang else train_here
            outcome = train_member(job, here, config, tell, train_with)
        elif job.evaluation is None:
            train_with = train_with_gang if gang else train_here
            outcome = run_job(job, here, Reporter(here, forward), train_with)
        else:
            outcome = run_evaluation(job, here, evaluate_with_gang if gang else evaluate_here)
        node = ray.get_runtime_context().get_node_id()
        outcome = replace(outcome, node=node, capacity=capacity(around.gpu))
        tune.report({"outcome": json.dumps(vars(outcome))})

    return perturb_trial
