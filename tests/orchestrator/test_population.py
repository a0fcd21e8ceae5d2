"""Populations (``scheduler: {name: pbt}``): real rounds of Ray Tune over scripted and real trials."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from orchestrator.driver import Ended, Options, run
from orchestrator.planning.plan import plan
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep, from_dict
from tests.orchestrator.sweeps import PLUGINS

EPOCHS = 6
NAME = "method.epsilon"
BOUNDS = (0.05, 20.0)
EPSILONS = (0.1, 0.5, 1, 4, 10)
PBT: dict[str, Any] = {"name": "pbt", "every": 2, "mutate": {NAME: {"log_uniform": list(BOUNDS)}}}


def population(*before: str, **changes: Any) -> Sweep:
    """Members that learn the faster the nearer their epsilon is to 1; ``before`` are further actions."""
    script = [*before, *[f"learn:{NAME}"] * EPOCHS]
    content: dict[str, Any] = {
        "name": "population",
        "trial": {
            "data": "digits", "model": {"name": "scripted", "script": script}, "method": "fgm",
            "epochs": EPOCHS,
        },
        "axes": {NAME: list(EPSILONS)},
        "scheduler": PBT,
        "plugins": ["scripted.py"],
    }  # fmt: skip
    return from_dict(content | changes, PLUGINS)


def ran(sweep: Sweep, store: Path) -> Ended:
    return run(sweep, Options(str(store), cpus=2, track=False))


def rows_of(sweep: Sweep, store: Path) -> list[Row]:
    ledger = Ledger(Store(store))
    return ledger.read([job.key for job in plan(sweep, ledger).jobs])


def check_lineage(row: Row, keys: set[str]) -> None:
    """The history is what the lineage says that was trained."""
    assert [segment["epoch"] for segment in row.lineage] == sorted({s["epoch"] for s in row.lineage})
    assert (row.lineage[0]["epoch"], row.lineage[0]["from"]) == (1, "")
    for segment in row.lineage[1:]:
        assert segment["from"] in keys
        assert segment["epoch"] % 2 == 1
        assert BOUNDS[0] <= segment["settings"][NAME] <= BOUNDS[1]
    accuracy = 0.0
    for epoch in row.history:
        (*_, current) = [s["settings"][NAME] for s in row.lineage if s["epoch"] <= epoch["epoch"]]
        accuracy += 0.1 * math.exp(-abs(math.log(current)))
        assert epoch["val.accuracy"] == pytest.approx(accuracy)
    assert [epoch["epoch"] for epoch in row.history] == list(range(1, EPOCHS + 1))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_the_worst_take_over_from_the_best(tmp_path: Path) -> None:
    sweep = population()
    ended = ran(sweep, tmp_path)
    assert ended.exit_code == 0
    assert ended.counts["done"] == len(EPSILONS)
    found = rows_of(sweep, tmp_path)
    keys = {row.key for row in found}
    for row, epsilon in zip(found, EPSILONS, strict=True):
        check_lineage(row, keys)
        assert row.trial["method"]["epsilon"] == epsilon, "what it began with"
    taken = [row for row in found if len(row.lineage) > 1]
    assert found[0] in taken, "0.1 learns the worst"
    assert found[2] not in taken, "1 learns the best"
    assert not Store(tmp_path).names("checkpoints"), "nothing is left"
    again = ran(sweep, tmp_path)
    assert again.counts == ended.counts
    assert [row.finished for row in rows_of(sweep, tmp_path)] == [row.finished for row in found]
