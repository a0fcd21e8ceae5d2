"""Ray on this machine: begun in a thread, its workers warm, Tune's first actors among them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.dispatch import local

ROOT = Path(__file__).parents[3]

SCRIPT = """
import sys, time
from orchestrator.dispatch.local import begin_ray, prompt

wait = begin_ray(2, preload=True)
wait()
import ray
from ray import tune

def trial(config):
    ready = "torch" in sys.modules and "engine.train" in sys.modules
    tune.report({"ready": ready, "env": ray.get_runtime_context().runtime_env.to_dict()})

with prompt():
    results = tune.Tuner(trial, run_config=tune.RunConfig(storage_path=sys.argv[1], verbose=0)).fit()
print("ready", results[0].metrics["ready"], results[0].metrics["env"])
print("known again", begin_ray(2, preload=True)() is None)
ray.shutdown()
"""


@pytest.mark.slow
def test_the_first_trial_finds_a_worker_that_has_imported_torch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=ROOT, env=os.environ | {"RAY_AUTH_MODE": "disabled"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ready True {}" in done.stdout
    assert "known again True" in done.stdout


SHORT = """
import os, sys, time
from orchestrator.dispatch.local import begin_ray, prompt

os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "1"  # as with a searcher
begin_ray(2, preload=False)()
import ray
from ray import tune

def trial(config):
    time.sleep(0.1)
    tune.report({"pid": os.getpid()})

with prompt():
    results = tune.Tuner(
        trial, param_space={"n": tune.grid_search(list(range(150)))},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(storage_path=sys.argv[1], verbose=0),
    ).fit()
print("processes", len({one.metrics["pid"] for one in results}))
ray.shutdown()
"""


@pytest.mark.slow
def test_an_actor_that_starts_is_waited_for_however_short_trials_are(tmp_path: Path) -> None:
    """Tune alone ends it for each of the trials that are over before it is up, and one slot idles."""
    done = subprocess.run(
        [sys.executable, "-c", SHORT, str(tmp_path)],
        cwd=ROOT, env=os.environ | {"RAY_AUTH_MODE": "disabled"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "processes 2" in done.stdout


@pytest.mark.usefixtures("ray_session")
def test_tune_is_put_back_as_it_was() -> None:
    from ray.air._internal import usage
    from ray.tune.execution import class_cache

    before = usage.tag_callbacks, class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE
    with local.prompt():
        assert usage.tag_callbacks([]) is False
        assert class_cache.DEFAULT_ENV_VARS == {}
    assert (usage.tag_callbacks, class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE) == before


@pytest.mark.usefixtures("ray_session")
def test_workers_of_another_ray_get_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution import class_cache

    monkeypatch.setattr(local, "_started", "elsewhere:1")
    with local.prompt():
        assert class_cache.DEFAULT_ENV_VARS


def test_what_ray_raised_is_raised_where_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no ports")

    monkeypatch.setattr(local, "start_ray", refuse)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RuntimeError, match="no ports"):
        local.begin_ray(2, preload=False)()
