from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import Trial
from orchestrator.planning.cost import cost
from orchestrator.planning.pilot import LEAST, MOST, measure, pilot
from orchestrator.planning.plan import plan
from orchestrator.planning.schedule import Cluster
from orchestrator.planning.timing import pilots_of
from orchestrator.planning.workload import work_of
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from tests.orchestrator.sweeps import TRIAL, sweep_of


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Store(tmp_path))


def test_a_pilot_of_each_kind_is_kept_and_leaves_no_row(ledger: Ledger) -> None:
    points = {"a": {}, "b": {"batch_size": 64}}
    sweep = sweep_of(points=points, axes={"method.steps": [1, 2, 3]}, reports=[])
    told: list[str] = []
    found = pilot(sweep, plan(sweep, ledger), ledger, told.append)
    assert len(found) == len(told) == 2
    assert "batches of 32 on cpu: " in told[0]
    assert "steps of 5 passes" in told[0], "K in the middle stands for its kind"
    assert ledger.index() == {}
    assert pilots_of(ledger.store) == sorted(found, key=lambda one: one.finished)
    assert cost(sweep, plan(sweep, ledger), ledger, Cluster(((2, 0),))).unknown == 0
    assert pilot(sweep, plan(sweep, ledger), ledger, told.append) == [], "what is known is not measured again"


def test_steps_are_counted_and_bounded() -> None:
    trial = Trial.model_validate(TRIAL | {"epochs": 100})
    found = measure(trial, gpu=False, seconds=60)
    assert found.steps == MOST
    assert found.kind == work_of(trial).kind
    assert 0 < found.unit < 5
    assert found.epoch > 0
    assert measure(trial, gpu=False, seconds=0).steps == LEAST


def test_a_trial_shorter_than_a_pilot_is_enough() -> None:
    trial = Trial.model_validate(TRIAL | {"epochs": 1, "init": {"from": {"method": "standard"}}})
    assert measure(trial, gpu=False, seconds=60).steps == 1


def test_missing_data_and_a_missing_gpu_are_said(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    monkeypatch.setenv("PERTURB_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("PERTURB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    told: list[str] = []
    sweep = sweep_of(trial=TRIAL | {"data": "mnist", "model": "lenet5"}, axes={}, reports=[])
    pilot(sweep, plan(sweep, ledger), ledger, told.append)
    sweep = sweep_of(resources={"gpus": 1})
    pilot(sweep, plan(sweep, ledger), ledger, told.append)
    assert "is not on this machine" in told[0]
    assert "this process sees no GPU" in told[1]
    assert pilots_of(ledger.store) == []
