"""Ray Tune's schedulers behind one guard, which knows what our reports mean.

Traps that it deals with (Ray 2.60): ASHA and Hyperband stop a trial at its last epoch, before it has written
its row, so that the last epoch is not shown to them; Hyperband looks no more at a bracket that it has halved
when a trial of it fails, so that the others wait for ever; the median rule fails on a result without its
metric, and pauses trials while it knows too few others, for which a long time slice is set; a NaN compares as
neither better nor worse, so that only finite values are shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from orchestrator.dispatch.messages import EPOCH, VALUE
from orchestrator.sweepfile.schedulers import Asha, Hyperband, Median, Pbt, Scheduler

NEVER = 10**9


def scheduler_of(
    rule: Scheduler | None,
    mode: str,
    epochs: int,
    closed: Callable[[], bool] = lambda: False,
    leave: Callable[[str], None] = lambda trial_id: None,
) -> Guard:
    """The scheduler of a sweep.

    Args:
        rule: None ends no trial early. mode: ``max`` or ``min`` is better. epochs: of the longest trial.
        closed, leave: as of the guard.
    """
    return Guard(_inner(rule, mode, epochs, closed), closed, leave)


def _inner(rule: Scheduler | None, mode: str, epochs: int, closed: Callable[[], bool]) -> Any:
    common: dict[str, Any] = {"time_attr": EPOCH, "metric": VALUE, "mode": mode}
    if rule is None:
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    if isinstance(rule, Pbt):
        from orchestrator.dispatch.population import Population

        return Population(rule, mode)
    if isinstance(rule, Median):
        common |= {"grace_period": rule.grace, "min_samples_required": rule.samples, "min_time_slice": NEVER}
        return MedianStoppingRule(**common)
    common |= {"max_t": epochs, "stop_last_trials": False, "reduction_factor": rule.reduction}
    if isinstance(rule, Hyperband):
        return Brackets(closed, **common)
    assert isinstance(rule, Asha)
    common |= {"grace_period": rule.grace, "brackets": rule.brackets}
    return AsyncHyperBandScheduler(**common)


class Brackets(HyperBandScheduler):
    """Tune's Hyperband, which halves a bracket also when a trial of it failed, and none of a stopped sweep.

    There the trials that are stopped have left their brackets, and those that stay are no fair comparison.

    Args:
        closed: whether nothing is to begin any more.
    """

    def __init__(self, closed: Callable[[], bool], **settings: Any) -> None:
        super().__init__(**settings)
        self.closed = closed

    def _process_bracket(self, tune_controller: Any, bracket: Any) -> str:
        if self.closed():
            return str(TrialScheduler.PAUSE)
        try:
            return str(super()._process_bracket(tune_controller, bracket))
        finally:
            bracket.is_being_processed = False  # which Ray never takes back


class Guard(TrialScheduler):
    """Shows a scheduler the epochs of trials, and ends a trial that has told its outcome.

    Args:
        inner: the scheduler. closed: whether nothing is to begin any more: what waits for resources,
            which may never come, is ended. leave: told before which trial is ended so.
    """

    def __init__(
        self,
        inner: Any,
        closed: Callable[[], bool] = lambda: False,
        leave: Callable[[str], None] = lambda trial_id: None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inner, self.closed, self.leave = inner, closed, leave
        self.last: dict[str, dict[str, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its scheduler to restore from, which is never done here."""
        return {}

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Nothing: the metric is given."""
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Passed on."""
        self.inner.on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Passed on."""
        self.last.pop(trial.trial_id, None)
        self.inner.on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """The scheduler's decision on an epoch; a trial's outcome is its end."""
        if "outcome" in result:
            return str(TrialScheduler.STOP)
        if VALUE not in result:
            return str(TrialScheduler.CONTINUE)
        self.last[trial.trial_id] = result
        return str(self.inner.on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Passed on with the last epoch that was shown."""
        last = self.last.pop(trial.trial_id, None)
        if last is None:
            self.inner.on_trial_remove(tune_controller, trial)
        else:
            self.inner.on_trial_complete(tune_controller, trial, last)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Passed on."""
        self.last.pop(trial.trial_id, None)
        self.inner.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Passed on, once what waits is ended where nothing is to begin any more.

        Not members of a population: each carries out what its last round has decided.
        """
        if self.closed() and not isinstance(self.inner, PopulationBasedTraining):
            self._end_waiting(tune_controller)
        return self.inner.choose_trial_to_run(tune_controller)

    def _end_waiting(self, tune_controller: Any) -> None:
        for trial in list(tune_controller.get_live_trials()):
            given = trial.temporary_state.ray_actor is not None  # it is about to begin, and is ended then
            if trial.status not in (Trial.PENDING, Trial.PAUSED) or given:
                continue
            self.leave(trial.trial_id)
            trial.init_local_path()  # which Tune asks every trial for at the end
            if trial in getattr(tune_controller, "_staged_trials", ()):  # else it would hold an actor for it
                tune_controller._unstage_trial_with_resources(trial)
            tune_controller.stop_trial(trial)

    def debug_string(self) -> str:
        """Passed on."""
        return str(self.inner.debug_string())
