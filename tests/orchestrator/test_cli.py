"""The command as users run it: a subprocess, its output, its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store

SMALL = """\
name: small
trial:
  data: {name: digits, train_size: 64}
  model: lenet5_8x8
  method: {name: dropattack, targets: [input, conv1.w]}
  epochs: 2
  batch_size: 32
axes:
  method.epsilon: [1, 5]
  method.p: [0, 0.5]
reports:
  - grid: [method.epsilon, method.p]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(SMALL)
    return tmp_path


def perturb(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", *words],
        cwd=folder, capture_output=True, text=True, timeout=200, env=environment(), check=False,
    )  # fmt: skip


def environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": root, "COLUMNS": "160"} | {"PERTURB_STORE": "results"}


def test_plan_run_status_logs_report(folder: Path) -> None:
    planned = json.loads(perturb(folder, "plan", "small.yaml", "--json").stdout)
    assert {k: planned[k] for k in ("points", "cells", "trials", "done", "todo")} == {
        "points": 4, "cells": 3, "trials": 3, "done": 0, "todo": 3,
    }  # fmt: skip
    assert not (folder / "results").exists()

    ran = perturb(folder, "run", "small.yaml", "--local")
    assert ran.returncode == 0, ran.stderr
    assert "3/3 trials done" in ran.stdout
    assert "report.html" in ran.stdout
    assert (folder / "results/mlflow.db").is_file()
    assert ran.stderr == ""

    planned = json.loads(perturb(folder, "plan", "small.yaml", "--json").stdout)
    assert (planned["done"], planned["todo"]) == (3, 0)

    (status,) = json.loads(perturb(folder, "status", "--json").stdout)
    assert (status["sweep"], status["state"], status["done"]) == ("small", "done", 3)
    assert "small" in perturb(folder, "status", "small.yaml").stdout

    key = next(iter(Ledger(Store(folder / "results")).index()))
    assert "epoch 2" in perturb(folder, "logs", key[:10]).stdout
    assert "conv1.w" not in perturb(folder, "report", "small.yaml").stderr
    assert "val.accuracy" in perturb(folder, "report", "small.yaml").stdout
    tracked = perturb(folder, "track", "small.yaml")
    assert tracked.returncode == 0, tracked.stderr


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (("epochs: 2", "epoch: 2"), "small.yaml:6: trial.epoch: unknown setting"),
        (("[1, 5]", "[1, -5]"), "small.yaml:9: axes.method.epsilon: -5 is not legal"),
        (("conv1.w", "conv9.w"), "conv9.w"),
        (("data: {name: digits, train_size: 64}", "data: digitz"), "did you mean 'digits'"),
    ],
)
def test_bad_input_is_one_line_and_code_2(folder: Path, change: tuple[str, str], wanted: str) -> None:
    (folder / "small.yaml").write_text(SMALL.replace(*change))
    for command in ("plan", "run"):
        done = perturb(folder, command, "small.yaml")
        assert done.returncode == 2, done.stderr
        assert wanted in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert "Traceback" not in done.stderr
    assert not (folder / "results").exists(), "nothing is written"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("run", "absent.yaml"), "absent.yaml"),
        (("status", "absent"), "a sweep that has been run"),
        (("stop", "absent"), "a sweep that has been run"),
        (("logs", "ffff"), "begins 0 here"),
        (("cancel", "absent", "ffff"), "a sweep that has been run"),
        (("ui",), "a local store in which a sweep was tracked"),
        (("run", "small.yaml", "--set", "trial.epoch=1"), "trial.epoch"),
        (("data", "mnist"), "PERTURB_DATA"),
        (("run", "small.yaml", "--address", "127.0.0.1:1"), "host:port of a running Ray cluster"),
        (("run", "small.yaml", "--address", "127.0.0.1:1", "--local"), "stands alone"),
        (("run", "small.yaml", "--local", "--store", "nonsense://x"), "nonsense"),
        (("run", "small.yaml", "--local", "--store", "small.yaml"), "this is a file"),
        (("run", "small.yaml", "--local", "--store", "memory://x"), "MLFLOW_TRACKING_URI"),
    ],
)
def test_wrong_words_are_one_line_and_code_2(folder: Path, words: tuple[str, ...], wanted: str) -> None:
    environment_without_data = {k: v for k, v in environment().items() if k != "PERTURB_DATA"}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", *words],
        cwd=folder, capture_output=True, text=True, timeout=60, env=environment_without_data, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert wanted in line


def test_missing_data_warns_in_plan_and_is_refused_by_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERTURB_DATA", str(folder / "empty"))
    monkeypatch.setenv("PERTURB_CACHE", str(folder / "cache"))
    text = SMALL.replace("data: {name: digits, train_size: 64}", "data: mnist").replace(
        "lenet5_8x8", "lenet5"
    )
    (folder / "small.yaml").write_text(text)
    planned = perturb(folder, "plan", "small.yaml")
    assert planned.returncode == 0
    assert "warning: trial.data: 'mnist' is not on this machine" in planned.stderr
    ran = perturb(folder, "run", "small.yaml", "--local")
    assert ran.returncode == 2
    assert "mnist" in ran.stderr
    assert not (folder / "results").exists()


def test_schema_and_data() -> None:
    done = perturb(Path(), "schema")
    assert "axes" in json.loads(done.stdout)["properties"]
    assert "fashion_mnist" in perturb(Path(), "data").stdout


@pytest.mark.parametrize("dispatcher", ["--local", "--cpus=2"])
def test_ctrl_c_drains_and_the_same_command_continues(folder: Path, dispatcher: str) -> None:
    words = ["run", "small.yaml", dispatcher, "--no-track", "--set", "trial.epochs=400"]
    with start(folder, words) as driver:
        wait_for_log(folder)
        driver.send_signal(signal.SIGINT)
        out, err = driver.communicate(timeout=60)
    assert driver.returncode == 75, err
    assert "continue with: perturb run small.yaml" in out.splitlines()[-1]
    assert "Traceback" not in err
    assert Ledger(Store(folder / "results")).index() == {}
    kept = list((folder / "results/checkpoints").glob("*/resume.pt"))
    assert kept, "a running trial left its checkpoint"
    (status,) = json.loads(perturb(folder, "status", "--json").stdout)
    assert status["state"] == "stopped"
    key = kept[0].parent.name
    done = perturb(folder, *words)
    assert done.returncode == 0, done.stderr
    log = (folder / f"results/logs/{key}.log").read_text()
    assert log.count("epoch 1 ") == 1, "it went on from the checkpoint"


def test_stop_from_another_shell(folder: Path) -> None:
    words = ["run", "small.yaml", "--local", "--no-track", "--set", "trial.epochs=2000"]
    with start(folder, words) as driver:
        wait_for_log(folder)
        assert perturb(folder, "stop", "small").returncode == 0
        out, _ = driver.communicate(timeout=60)
    assert driver.returncode == 75
    assert "stopped on request" in out


def test_a_second_driver_is_refused_and_a_second_ctrl_c_stops_at_once(folder: Path) -> None:
    words = ["run", "small.yaml", "--local", "--no-track", "--set", "trial.epochs=100000"]
    with start(folder, words) as driver:
        wait_for_log(folder)
        second = perturb(folder, *words)
        assert second.returncode == 3
        assert f"process {driver.pid}" in second.stderr
        driver.send_signal(signal.SIGINT)
        driver.send_signal(signal.SIGTERM)
        _, err = driver.communicate(timeout=30)
    assert driver.returncode == 75, err
    assert "Traceback" not in err


def start(folder: Path, words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", *words],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        start_new_session=True,
    )  # fmt: skip


def wait_for_log(folder: Path) -> None:
    """Until a trial has ended its first epoch."""
    ends = time.monotonic() + 90
    while time.monotonic() < ends:
        if any("epoch 1 " in path.read_text() for path in (folder / "results/logs").glob("*.log")):
            return
        time.sleep(0.1)
    raise AssertionError("no trial began")


def test_json_events_are_all_that_stands_on_stdout(folder: Path) -> None:
    ran = perturb(folder, "run", "small.yaml", "--local", "--no-track", "--json")
    assert ran.returncode == 0, ran.stderr
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["sweep_started", "sweep_ended"]
    assert (events[-1]["exit_code"], events[-1]["done"], events[-1]["report"][-5:]) == (0, 3, ".html")
    assert perturb(folder, "run", "small.yaml", "--local", "--json", "--set", "seeds=0").stdout == ""
    watched = perturb(folder, "status", "small", "--watch")
    assert "3/3 trials" in watched.stdout
    assert "--watch: stands with the name" in perturb(folder, "status", "--watch").stderr
