"""Trials that a scheduler ends: real schedulers of Ray Tune over scripted learning curves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver import run
from orchestrator.options import Ended, Options
from orchestrator.planning.plan import plan
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep
from tests.orchestrator.sweeps import scripted, stopped_once

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.slow]

EPOCHS = 9


def curves(scheduler: Any, trials: int = 9, **changes: Any) -> Sweep:
    """Trial i climbs to accuracy (trials - i) / 10: the first is the best."""
    bests = [(trials - i) / 10 for i in range(trials)]
    scripts = [[f"report:{best * e / EPOCHS}" for e in range(1, 1 + EPOCHS)] for best in bests]
    trial = {"data": "digits", "model": {"name": "scripted"}, "method": "standard", "epochs": EPOCHS}
    return scripted(*scripts, scheduler=scheduler, trial=trial, **changes)


def hyperband(place: int, script: list[str]) -> Sweep:
    """17 trials of which one acts out another script."""
    sweep = curves("hyperband", 17)
    scripts = [point["model"]["script"] for point in sweep.points.values()]
    scripts[place] = script
    return scripted(*scripts, scheduler="hyperband", trial=sweep.trial)


def ran(sweep: Sweep, store: Path) -> Ended:
    return run(sweep, Options(str(store), cpus=2, track=False))


def rows(sweep: Sweep, store: Path) -> list[Row | None]:
    """In the order of the points."""
    ledger = Ledger(Store(store))
    keys = [job.key for job in plan(sweep, ledger).jobs]
    found = {row.key: row for row in ledger.read(keys, rule=sweep.rule)}
    return [found.get(key) for key in keys]


@pytest.mark.parametrize("rule", ["asha", "hyperband", "median"])
def test_worse_trials_are_pruned(tmp_path: Path, rule: str) -> None:
    sweep = curves(rule)
    ended = ran(sweep, tmp_path)
    assert ended.exit_code == 0
    found = rows(sweep, tmp_path)
    assert all(row is not None for row in found)
    status = [row.status for row in found if row]
    assert status[0] == "completed", "the best goes on"
    assert status.count("pruned") >= 3
    for row in found:
        assert row is not None
        if row.status == "pruned":
            epochs = [int(epoch["epoch"]) for epoch in row.history]
            assert epochs == list(range(1, len(epochs) + 1))
            assert len(epochs) < EPOCHS
            assert row.error == f"pruned after epoch {len(epochs)} by its val.accuracy"
            assert (row.rule, row.best, row.failure) == (sweep.rule, {}, None)
        else:
            assert len(row.history) == EPOCHS
    assert not Store(tmp_path).names("checkpoints")


def test_pruned_is_done_for_the_same_settings_alone(tmp_path: Path) -> None:
    sweep = curves("asha")
    first = ran(sweep, tmp_path)
    assert first.counts["done"] == 9
    assert first.counts["pruned"] >= 3
    again = ran(sweep, tmp_path)
    assert again.counts == first.counts
    other = curves({"name": "asha", "reduction": 2})
    assert plan(other, Ledger(Store(tmp_path))).counts()["todo"] == first.counts["pruned"]
    whole = curves(None)
    assert ran(whole, tmp_path).exit_code == 0
    assert {row.status for row in rows(whole, tmp_path) if row} == {"completed"}
    assert plan(sweep, Ledger(Store(tmp_path))).counts()["pruned"] == 0, "a whole run is worth more"


def test_what_is_pruned_after_the_budget_is_given_has_its_row(tmp_path: Path) -> None:
    sweep = curves("asha", budget={"trials": 6})
    ended = ran(sweep, tmp_path)
    assert ended.exit_code == 75
    assert ended.counts["done"] == 6
    assert ended.counts["pruned"] >= 2
    assert all(row.timings["total"] > 0 for row in rows(sweep, tmp_path) if row)


THIRD = 3 + 5
"""Place of the first of the nine trials of Hyperband's third bracket."""


def test_a_failure_does_not_keep_a_bracket_waiting(tmp_path: Path) -> None:
    """The third best of nine diverges in its second stretch, when the two better ones wait for it."""
    sweep = hyperband(THIRD + 2, ["report:0.7", "report:0.7", "sleep:1", "nan"])
    assert ran(sweep, tmp_path).counts["done"] == 17
    states = [row.status for row in rows(sweep, tmp_path) if row]
    assert states[THIRD : THIRD + 3] == ["completed", "pruned", "diverged"]
    assert states[THIRD + 3 :] == ["pruned"] * 6


def test_trials_that_are_paused_when_the_sweep_is_drained_are_not_judged(tmp_path: Path) -> None:
    reached, store = tmp_path / "reached", Store(tmp_path / "store")
    sweep = hyperband(THIRD + 5, [f"log:{reached}", "sleep:2", *["report:0.1"] * EPOCHS])

    began = time.monotonic()
    with stopped_once(reached, store, sweep.name):
        ended = ran(sweep, tmp_path / "store")
    assert time.monotonic() - began < 60
    assert ended.exit_code == 75
    found = rows(sweep, tmp_path / "store")
    assert found[THIRD:] == [None] * 9, "some wait for their bracket, some have not begun"
    assert sum(1 for key in store.names("checkpoints")) >= 3
    assert ran(sweep, tmp_path / "store").counts["done"] == 17


def test_a_gang_stays_warm_when_its_trial_is_pruned(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    sweep = curves("asha", 4, resources={"workers": 2})
    points = {
        name: {"model": {"name": "scripted", "script": ["rank:0", f"log:{runs}", *point["model"]["script"]]}}
        for name, point in sweep.points.items()
    }
    sweep = scripted(points=points, scheduler="asha", trial=sweep.trial, resources={"workers": 2})
    ended = ran(sweep, tmp_path / "store")
    assert ended.exit_code == 0
    assert ended.counts["pruned"] >= 1
    lines = runs.read_text().splitlines()
    assert len(lines) == 4
    assert len({line.split()[1] for line in lines}) == 1, "one process was rank 0 of all"
