"""What is changed in Tune's controller, with Tune itself and with as much of it as is asked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.dispatch import thrifty
from tests.orchestrator.rays import output

SHORT = """
import os, sys, time
from pathlib import Path
from orchestrator.dispatch.local import begin_ray, prompt

folder, slots = Path(sys.argv[1]), int(sys.argv[2])
os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "1"  # as with a searcher
begin_ray(slots, preload=False)()
import ray
from ray import tune

def trial(config):
    (folder / f"{os.getpid()}.pid").touch()
    up = len(list(folder.glob("*.pid")))
    time.sleep(0.1 * up if up < slots else 0)  # ten trials a second until all are up
    tune.report({"done": True})

with prompt():
    tune.Tuner(
        trial, param_space={"n": tune.grid_search(list(range(400)))},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    ).fit()
print("processes", len(list(folder.glob("*.pid"))))
ray.shutdown()
"""


@pytest.mark.slow
@pytest.mark.parametrize("slots", [2, 4])
def test_every_slot_gets_one_process_however_short_trials_are(tmp_path: Path, slots: int) -> None:
    """Tune alone ends the one that starts for each trial that is over before it is up: one runs all.

    Were it waited for, all actors that become free meanwhile would be ended, but one.
    """
    assert f"processes {slots}\n" in output(SHORT, tmp_path, slots)


HELD = """
import os, sys, time
from orchestrator.dispatch.local import begin_ray, prompt

os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "1"  # as with a searcher
begin_ray(2, preload=False)()
import ray
from ray import tune

folder, dies = sys.argv[1], sys.argv[2] == "dies"

class Trial(tune.Trainable):
    def setup(self, config):
        try:
            open(f"{folder}/first", "x").close()
        except FileExistsError:
            time.sleep(2 if dies else 3600)
            os._exit(1)

    def reset_config(self, config):
        return True

    def save_checkpoint(self, folder):
        pass

    def step(self):
        time.sleep(0.2)
        return {"done": True}

with prompt():
    results = tune.Tuner(
        Trial, param_space={"n": tune.grid_search(list(range(30)))},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    ).fit()
print("done", len(results) - results.num_errors)
ray.shutdown()
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["hangs", "dies"])
def test_a_start_that_fails_holds_no_trial_where_another_process_is_up(tmp_path: Path, what: str) -> None:
    assert "done 30\n" in output(HELD, tmp_path, what)


class Waiting:
    """A trial whose actor starts, and what Tune's controller knows of the two."""

    placement_group_factory = "one CPU"

    def __init__(self) -> None:
        from ray.air.execution._internal import TrackedActor
        from ray.tune.execution.tune_controller import _ObjectCache

        self.own, self.removed = TrackedActor(1, on_error=print), list[object]()
        self._trial_to_actor, self._actor_to_trial = {self: self.own}, {self.own: self}
        self._resetting_trials, self._started_actors = set[object](), set[object]()
        self._stopping_actors, self._earliest_stopping_actor = dict[object, float](), float("inf")
        self._actor_cache = thrifty.lingering(_ObjectCache)()
        self._actor_manager = SimpleNamespace(is_actor_started=lambda actor: actor is self.own)
        self._actor_failed, self._remove_actor = str, self.removed.append

    def reuse(self) -> Any:
        """As Tune looks for a free actor for it."""
        return thrifty.releasing(lambda self, trial: self._actor_cache.pop_cached_object("one CPU"))(
            self, self
        )


def test_a_trial_takes_a_free_actor_and_its_own_joins_them_once_up() -> None:
    trial = Waiting()
    assert trial.reuse() is None
    assert trial._trial_to_actor == {trial: trial.own}  # nothing is free
    trial._actor_cache.cache_object("one CPU", "free")
    assert trial.reuse() == "free"
    assert not trial._trial_to_actor
    assert not trial._actor_to_trial
    assert trial.own._on_error is None  # there is no trial that it could fail
    assert trial._earliest_stopping_actor == trial._stopping_actors[trial.own] < float("inf")
    trial.own._on_start(trial.own)
    assert (trial._started_actors, trial._stopping_actors, trial.removed) == ({trial.own}, {}, [])
    assert trial.own._on_error is str  # as of any that the next trial is given
    assert trial._actor_cache.pop_cached_object("one CPU") is trial.own


def test_one_that_is_up_when_others_need_its_resources_is_ended() -> None:
    trial = Waiting()
    trial._actor_cache.cache_object("one CPU", "free")
    trial.reuse()
    trial._actor_cache.increase_max("two CPUs")
    trial.own._on_start(trial.own)
    assert trial.removed == [trial.own]


def test_a_trial_that_has_taken_one_keeps_it() -> None:
    trial = Waiting()
    trial._resetting_trials.add(trial)
    trial._actor_cache.cache_object("one CPU", "free")
    trial.reuse()
    assert trial._trial_to_actor == {trial: trial.own}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Seconds, set by hand."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(thrifty, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def free(clock: SimpleNamespace) -> Any:
    """A cache of free actors that holds three."""
    from ray.tune.execution.tune_controller import _ObjectCache

    free = thrifty.lingering(_ObjectCache)()
    assert all(free.cache_object("one CPU", actor) for actor in "abc")
    return free


def test_free_actors_are_kept_for_a_second_and_one_for_longer(free: Any, clock: SimpleNamespace) -> None:
    assert list(free.flush_cached_objects()) == []
    clock.now += thrifty.LINGER_SECONDS / 2
    assert list(free.flush_cached_objects()) == []
    clock.now += thrifty.LINGER_SECONDS
    assert list(free.flush_cached_objects()) == ["a", "b"]
    assert list(free.flush_cached_objects(force_all=True)) == ["c"]


def test_free_actors_are_kept_as_long_as_trials_come(free: Any, clock: SimpleNamespace) -> None:
    """Each of these runs within the turn in which it is asked for."""
    for _ in range(5):
        clock.now += thrifty.LINGER_SECONDS
        free.increase_max("one CPU")
        free.decrease_max("one CPU")
        assert list(free.flush_cached_objects()) == []
    free.increase_max("one CPU")  # and this one waits
    for _ in range(5):
        clock.now += thrifty.LINGER_SECONDS
        assert list(free.flush_cached_objects()) == []


def test_free_actors_are_ended_at_once_where_others_need_their_resources(free: Any) -> None:
    free.increase_max("two CPUs")
    assert free.cache_object("one CPU", "d") is False
    assert list(free.flush_cached_objects()) == ["a", "b", "c"]


def test_at_the_end_actors_that_start_are_not_waited_for() -> None:
    calls: list[Any] = []
    controller = SimpleNamespace(
        _stopping_actors={"starts": 1.0, "has died": 1.0, "up": 1.0}, _started_actors={"up"},
        _actor_manager=SimpleNamespace(
            is_actor_started=lambda actor: actor != "has died",
            remove_actor=lambda actor, kill: calls.append((actor, kill)),
        ),
    )  # fmt: skip
    thrifty.abandoning(calls.append)(controller)
    assert calls == [("starts", True), controller]


def test_a_controller_made_otherwise_is_left_as_it_is() -> None:
    from ray.tune.execution import tune_controller

    class Other:
        def __init__(self) -> None:
            self._trial_to_actor: dict[object, object] = {}

    assert len(thrifty.thrifty(tune_controller)) == 3
    cache = tune_controller._ObjectCache
    assert thrifty.thrifty(SimpleNamespace(TuneController=Other, _ObjectCache=cache)) == []
    assert thrifty.thrifty(SimpleNamespace(TuneController=tune_controller.TuneController)) == []
    assert thrifty._has(Other, {"_trial_to_actor"})
    assert not thrifty._has(object, {"_trial_to_actor"})
