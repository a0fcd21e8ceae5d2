"""Ray on this machine: begun in a thread, its workers warm, Tune's first actors among them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator.dispatch import local
from tests.orchestrator.rays import output

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
print("monitors", {"monitor", "log_monitor"} & set(ray._private.worker._global_node.all_processes))
print("ready", results[0].metrics["ready"], results[0].metrics["env"])
print("known again", begin_ray(2, preload=True)() is None)
ray.shutdown()
"""


@pytest.mark.slow
def test_the_first_trial_finds_a_worker_that_has_imported_torch(tmp_path: Path) -> None:
    printed = output(SCRIPT, tmp_path)
    assert "ready True {}" in printed
    assert "known again True" in printed
    assert "monitors set()" in printed


@pytest.mark.usefixtures("ray_session")
def test_tune_is_put_back_as_it_was() -> None:
    from ray.air._internal import usage
    from ray.tune.execution import class_cache, tune_controller

    def insides() -> tuple[object, ...]:
        controller = tune_controller.TuneController
        return (
            usage.tag_callbacks, class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE,
            controller._maybe_reuse_cached_actor, controller._cleanup_trials, tune_controller._ObjectCache,
        )  # fmt: skip

    before = insides()
    with local.prompt():
        assert all(now is not then for now, then in zip(insides(), before, strict=True))
        assert usage.tag_callbacks([]) is False
        assert class_cache.DEFAULT_ENV_VARS == {}
    assert all(now is then for now, then in zip(insides(), before, strict=True))


@pytest.mark.usefixtures("ray_session")
def test_workers_of_another_ray_get_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution import class_cache

    monkeypatch.setattr(local, "_started", "elsewhere:1")
    with local.prompt():
        assert class_cache.DEFAULT_ENV_VARS


@pytest.mark.parametrize("missing", [None, ImportError("no aiohttp_cors")])
def test_ray_is_spared_processes_and_has_them_again(
    monkeypatch: pytest.MonkeyPatch, missing: ImportError | None
) -> None:
    from ray._private import node, utils

    monkeypatch.setattr(utils, "get_dashboard_dependency_error", lambda: missing)
    wanted = local._spared()
    names = {"start_monitor", "start_log_monitor", *(["start_api_server"] if missing else [])}
    assert {name for _, name, _ in wanted} == names, (
        "where a dashboard could be, its agents look for its server"
    )
    before = {name: getattr(node.Node, name) for name in names}
    with local._replaced(wanted):
        assert all(getattr(node.Node, name) is not was for name, was in before.items())
    assert {name: getattr(node.Node, name) for name in names} == before


def test_what_ray_raised_is_raised_where_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no ports")

    monkeypatch.setattr(local, "start_ray", refuse)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RuntimeError, match="no ports"):
        local.begin_ray(2, preload=False)()
