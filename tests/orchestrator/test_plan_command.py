"""``perturb plan`` as users run it: costs, pilots, clusters, and that it writes no row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
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
  method.steps: [1, 3]
seeds: {start: 2, most: 5}
budget: {price: {cpu_hour: 0.04}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.setenv("PERTURB_STORE", str(tmp_path / "results"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def perturb(folder: Path, *words: str) -> str:
    done = CliRunner().invoke(app, ["plan", str(folder / "small.yaml"), *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_what_is_not_known_is_said_and_a_pilot_finds_out(folder: Path) -> None:
    text = perturb(folder)
    assert "at least 4, at most 10 trials (2 to 5 seeds a cell, as the best cell ask for them)" in text
    assert "unknown: how long 4 trials take; perturb plan --pilot measures it" in text
    assert not (folder / "results").exists(), "nothing is written"
    found = json.loads(perturb(folder, "--pilot", "--json", "--cpus", "4"))
    assert (found["trials"], found["most"], found["cost"]["unknown_trials"]) == (4, 10, 0)
    cost = found["cost"]
    one, three = cost["cells"].values()
    assert one["source"] == "pilot"
    assert one["low"] < one["seconds"] < one["high"]
    assert one["seconds"] < three["seconds"]
    assert cost["at_once"] == 4
    assert cost["hours"]["expected"] == pytest.approx((one["seconds"] + three["seconds"]) * 2 / 3600)
    assert cost["money"]["expected"] == pytest.approx(0.04 * cost["hours"]["expected"])
    assert cost["wall_hours"]["expected"] < cost["hours"]["expected"]
    assert cost["hours_most"] > cost["hours"]["expected"]
    assert Ledger(Store(folder / "results")).index() == {}
    text = perturb(folder)
    assert "CPU-hours" in text
    assert "2 from pilot" in text
    assert "in money" in text


def test_another_cluster_is_asked_alone(folder: Path) -> None:
    done = CliRunner().invoke(app, ["plan", str(folder / "small.yaml"), "--address", "x:1", "--cpus", "2"])
    assert done.exit_code != 0
    assert "--address" in str(done.exception)
    assert "no room for a trial on 1 node, 1 CPUs" in perturb(
        folder, "--cpus", "1", "--set", "resources.cpus=2"
    )
