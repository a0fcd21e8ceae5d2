"""The whole examination and its command, in this process and on the session's Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import orchestrator
from orchestrator.cli import app
from orchestrator.dispatch import local
from orchestrator.doctor import examine as whole
from orchestrator.doctor.result import Result
from orchestrator.options import Options
from tests.orchestrator.sweeps import sweep_of

SWEEP = """\
name: small
trial: {data: digits, model: lenet5_8x8, method: fgm, epochs: 1}
axes: {method.epsilon: [1, 2]}
"""

NODE = {"versions", "code", "cache", "shared memory", "open files", "data", "all-reduce (gloo)"}


@pytest.fixture
def quick_reduce(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one starts two interpreters (test_reduce.py)."""

    def stand_in(size: int, cuda: bool, host: str, seconds: float) -> Result:
        return Result("all-reduce (gloo)", "ok", f"{size} on {host}")

    monkeypatch.setattr(whole, "among", stand_in)


def by_check(results: list[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.check, []).append(result)
    return found


@pytest.mark.usefixtures("quick_reduce")
def test_this_process_alone(tmp_path: Path) -> None:
    results = orchestrator.examine(sweep_of(), Options(str(tmp_path / "store"), local=True))
    found = by_check(results)
    assert set(found) == NODE | {"store", "store disk", "mlflow"}
    assert all(
        r.status == "ok" for name in ("store", "mlflow", "versions", "code", "data") for r in found[name]
    )
    assert not (tmp_path / "store").exists(), "nothing is left behind"


@pytest.mark.usefixtures("quick_reduce")
def test_a_sweep_that_wants_gpus_where_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoGpus:
        def devices(self) -> list[Any]:
            return []

        def build(self) -> str:
            return "no CUDA"

    monkeypatch.setattr(whole, "Gpus", NoGpus)
    sweep = sweep_of(resources={"gpus": 1})
    results = orchestrator.examine(sweep, Options(str(tmp_path), local=True, track=False))
    (gpu,) = by_check(results)["gpu"]
    assert (gpu.status, "torch sees 0 of 1" in gpu.found) == ("fail", True)


def test_nobody_at_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(str(tmp_path), address="127.0.0.1:1", track=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # another test's may run in this process
    (found,) = by_check(orchestrator.examine(None, options))["ray"]
    assert (found.status, found.found.startswith("127.0.0.1:1: host:port of a running")) == ("fail", True)


def test_a_cluster_that_refuses_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def refuse(*_: Any, **more: Any) -> None:
        raise ray.exceptions.AuthenticationError("Invalid or missing authentication token")

    monkeypatch.setattr("ray.is_initialized", lambda: False)  # another test's may run in this process
    monkeypatch.setattr("ray.init", refuse)
    monkeypatch.setattr(local, "_reachable", lambda address: None)
    (found,) = by_check(orchestrator.examine(None, Options(str(tmp_path), address="a:1", track=False)))["ray"]
    assert (found.status, "token" in found.found, "RAY_AUTH_MODE" in found.remedy) == ("fail", True, True)


@pytest.mark.usefixtures("ray_session")
@pytest.mark.slow
def test_every_node_of_a_ray(tmp_path: Path) -> None:
    results = orchestrator.examine(sweep_of(), Options(str(tmp_path), track=False))
    found = by_check(results)
    assert set(found) == NODE | {"store", "store disk", "resources", "clock"}
    assert [r for r in results if r.status == "fail"] == []
    assert {r.node == "driver" for r in found["store"]} == {True, False}
    too_much = orchestrator.examine(sweep_of(resources={"cpus": 64}), Options(str(tmp_path), track=False))
    assert by_check(too_much)["resources"][0].status == "fail"


@pytest.mark.usefixtures("quick_reduce")
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small.yaml").write_text(SWEEP)
    monkeypatch.setenv("PERTURB_STORE", str(tmp_path / "store"))
    words = ["doctor", str(tmp_path / "small.yaml"), "--local"]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, "0 failures on the driver and 1 node" in done.output) == (0, True)
    listed = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert {"check", "node", "status", "found", "remedy"} == set(listed[0])
    failing = CliRunner().invoke(app, ["doctor", "--local", "--store", "memory://x"])
    assert failing.exit_code == 1
    assert "fail: mlflow: driver: no tracking server is named; MLFLOW_TRACKING_URI" in failing.output


def test_wrong_words_are_one_line(tmp_path: Path) -> None:
    for words in (["--local", "--address", "a:1"], ["absent.yaml"]):
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", "doctor", *words], cwd=tmp_path, capture_output=True,
            text=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}, check=False,
        )  # fmt: skip
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
