"""Population based training behind Ray Tune: whose checkpoint each of the worst takes over.

What is not as in Tune's own scheduler, and why (Ray 2.60): it refuses every searcher, from which our jobs
come; it clones the donor's whole config, which is another job; it asks for checkpoints through Tune, while
ours lie in the store, so that a clone is a word in the config; its rounds wait for ever when the last trial
that they wait for ends or fails; a factor may lead a setting out of its bounds; it draws from Python's
global generator, which is seeded for each round here and put back.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler
from ray.tune.schedulers.pbt import _PBTTrialState

from orchestrator.dispatch.messages import EPOCH, VALUE, decode
from orchestrator.dispatch.rounds import CLONE, HEARD, SETTINGS
from orchestrator.planning.population import drawn, inside
from orchestrator.sweepfile.schedulers import Pbt


class Population(PopulationBasedTraining):
    """All trials wait for each other every few epochs; then the worst take over from the best.

    Args:
        rule: of the sweep file. mode: ``max`` or ``min`` is better.
    """

    def __init__(self, rule: Pbt, mode: str) -> None:
        mutations: dict[str, Any] = {
            name: list(one.choice) if one.choice is not None else partial(drawn, one, random)
            for name, one in rule.mutate.items()
        }
        super().__init__(
            time_attr=EPOCH, metric=VALUE, mode=mode, perturbation_interval=rule.every,
            hyperparam_mutations=mutations, quantile_fraction=rule.quantile,
            resample_probability=rule.resample, perturbation_factors=rule.factors, log_config=False,
            synch=True,
        )  # fmt: skip
        self.rule = rule
        self.keys: dict[Any, str] = {}
        self.of = ""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A member comes, or comes again."""
        job = decode(trial.config["job"])
        self._trial_state[trial] = _PBTTrialState(trial)
        self.keys[trial] = job.key
        self.of = json.dumps(job.population, sort_keys=True)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """At a round the member waits; the last to come begins the next stretch."""
        epoch = int(result[EPOCH])
        config = {name: value for name, value in trial.config.items() if name != CLONE}
        if epoch % self.rule.every:
            trial.set_config(config | json.loads(result[SETTINGS]))
            return str(TrialScheduler.CONTINUE)
        trial.set_config(config | json.loads(result[SETTINGS]) | {HEARD: epoch})
        self._save_trial_state(self._trial_state[trial], epoch, result, trial)
        tune_controller.pause_trial(trial, should_checkpoint=False)  # the decision PAUSE would take a while
        self._begin_if_all_wait()
        return str(TrialScheduler.NOOP)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A member ended: it gives and takes no more."""
        self._left(trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A member failed; where it is started again, it comes again."""
        self._left(trial)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A member was ended while it waited."""
        self._left(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The next member that waits no more; Tune's own choice is one at a time, while its actor starts."""
        going = [
            (state.last_train_time, place, trial)
            for place, (trial, state) in enumerate(self._trial_state.items())
            if trial.status == Trial.PAUSED and state.last_train_time < self._next_perturbation_sync
        ]
        return min(going)[2] if going else None

    def _left(self, trial: Any) -> None:
        self._trial_state.pop(trial, None)
        self._begin_if_all_wait()

    def _begin_if_all_wait(self) -> None:
        """Begin the next stretch where every member has come to the round."""
        came = [state.last_train_time for state in self._trial_state.values()]
        if not came or min(came) < self._next_perturbation_sync:
            return
        with self._seeded():
            lower, upper = self._quantiles()
            for trial in lower:
                self._clone(trial, random.choice(upper))
        least = min(state.last_train_time for state in self._trial_state.values())
        self._next_perturbation_sync = (least // self.rule.every + 1) * self.rule.every

    def _clone(self, trial: Any, donor: Any) -> None:
        explored, _ = self._get_new_config(trial, donor)
        settings = {name: inside(one, explored[name]) for name, one in self.rule.mutate.items()}
        state, its = self._trial_state[trial], self._trial_state[donor]
        word = {"from": self.keys[donor], "epoch": its.last_train_time, "settings": settings}
        trial.set_config({**trial.config, **settings, CLONE: json.dumps(word)})
        state.last_perturbation_time = state.last_train_time = its.last_train_time
        self._num_perturbations += 1

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Draws that depend on the population and on the round alone."""
        before = random.getstate()
        random.seed(f"{self.of} {self._next_perturbation_sync}")
        try:
            yield
        finally:
            random.setstate(before)
