"""Our feed as Ray Tune sees it: a Searcher that suggests jobs, a Callback that passes events on."""

from __future__ import annotations

import json
from typing import Any

from ray.tune import Callback
from ray.tune.search import Searcher

from orchestrator.dispatch.tune import Observer, encode
from orchestrator.planning.feed import Feed
from orchestrator.planning.job import Job, Outcome, Surroundings
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store


class FeedSearcher(Searcher):
    """Suggests the feed's jobs; Tune calls these methods from its own loop, in one thread."""

    def __init__(self, feed: Feed, observers: list[Observer], around: Surroundings) -> None:
        super().__init__()
        self.feed, self.observers, self.around = feed, observers, around
        self.running: dict[str, Job] = {}
        self.outcomes: dict[str, Outcome] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next job; None for "ask again", FINISHED when no more will come."""
        if self.feed.exhausted:
            return str(Searcher.FINISHED)
        job = self.feed.next()
        if job is None:
            return None
        self.running[trial_id] = job
        return {"job": encode(job)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial ended: with an outcome, or because its process died more often than it may."""
        job = self.running.pop(trial_id, None)
        if job is None:
            return
        outcome = self.outcomes.pop(trial_id, None) or self._lost(job)
        self.feed.done(job, outcome)
        for observer in self.observers:
            observer.finished(job, outcome)

    def started(self, trial_id: str) -> None:
        """A trial has got its resources and begins."""
        job = self.running.get(trial_id)
        if job is not None:
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
            for observer in self.observers:
                observer.epoch(job, int(result["epoch"]), metrics)

    def _lost(self, job: Job) -> Outcome:
        from orchestrator.dispatch.evaluation import failed_evaluation
        from orchestrator.dispatch.worker import failed_row

        message = "its process or node was lost more often than it may be"
        ledger = Ledger(Store(self.around.store))
        if job.evaluation is None:
            ledger.write(failed_row(job, self.around, "lost", message))
        else:
            ledger.evaluations.write(failed_evaluation(job, self.around, "lost", message))
        return Outcome(job.key, "failed", "lost", message)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher to restore from, which is never done here; the feed holds threads."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a sweep continues from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a sweep continues from the ledger."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: a sweep continues from the ledger."""


class Listener(Callback):
    """Passes every report of a trial to the searcher, which knows its job."""

    def __init__(self, searcher: FeedSearcher) -> None:
        self.searcher = searcher

    def __getstate__(self) -> dict[str, Any]:
        """As of the searcher."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Called by Tune when a trial has its resources."""
        self.searcher.started(trial.trial_id)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Called by Tune for every report."""
        self.searcher.heard(trial.trial_id, result)
