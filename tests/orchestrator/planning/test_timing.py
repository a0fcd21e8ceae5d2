from __future__ import annotations

import math
from typing import Any

import pytest

from engine.config import Trial
from orchestrator.planning.timing import PRIOR, Estimate, Measured, measured, pace_of, spread_of
from orchestrator.planning.workload import steps_of, work_of
from orchestrator.records.row import Row
from tests.orchestrator.sweeps import TRIAL


def trial(**changes: Any) -> Trial:
    return Trial.model_validate(TRIAL | changes)


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 2),
        ({"data": {"name": "digits", "train_size": 65}}, 3),
        ({"data": {"name": "digits", "train_size": 64, "labelled": 30}}, 1),
        ({"steps_per_epoch": 7}, 7),
    ],
)
def test_steps_are_those_that_training_makes(changes: dict[str, Any], steps: int) -> None:
    from engine.train import train

    found = trial(**changes, epochs=1)
    assert steps_of(found) == steps
    seen: list[int] = []
    train(found, lambda event: (seen.append(event.step), "continue")[1])  # type: ignore[func-returns-value,return-value]
    assert max(seen) == steps


def test_k_changes_the_passes_and_not_the_kind() -> None:
    works = [work_of(trial(method=TRIAL["method"] | {"steps": k})) for k in (1, 2, 3)]
    assert [work.passes for work in works] == [1 + 2 * k for k in (1, 2, 3)]
    assert len({work.kind for work in works}) == 1
    assert work_of(trial(batch_size=16)).kind != works[0].kind


def row(**changes: Any) -> Row:
    fields: dict[str, Any] = {
        "history": [{"epoch": 1.0}, {"epoch": 2.0}],
        "timings": {"train": 4.0, "evaluate": 1.0, "data": 0.5, "total": 6.0},
        "device": "cpu (x86_64)",
    }
    return Row("k", "c", 0, "completed", TRIAL | {"seed": 0}, {}, **(fields | changes))


def test_a_row_is_measured_by_the_epochs_that_it_ran() -> None:
    found = measured(row())
    assert found is not None
    assert (found.units, found.epochs, found.device, found.total) == (3 * 2 * 2, 2, "cpu", 6.0)


def test_a_continued_trials_total_is_at_least_its_phases() -> None:
    found = measured(row(timings={"train": 4.0, "evaluate": 1.0, "total": 0.5}))
    assert found is not None
    assert found.total == 5.0


@pytest.mark.parametrize(
    "changes", [{"timings": {}}, {"history": []}, {"trial": {"data": "none"}}, {"status": "failed"}]
)
def test_rows_that_tell_nothing(changes: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"status": "completed", "trial": TRIAL, "history": [{"epoch": 1.0}]}
    fields |= {"timings": {"train": 1.0, "total": 1.0}, "device": "cpu"}
    assert measured(Row("k", "c", 0, canonical={}, **(fields | changes))) is None


def test_a_pace_gives_back_what_it_was_made_of() -> None:
    rows = [
        Measured("c", s, "k", "cpu", 1, units, e, 0.02 * units, 0.3 * e, 0.02 * units + 0.3 * e + 1.5)
        for s, (units, e) in enumerate([(100, 1), (500, 3), (40, 2)])
    ]
    pace = pace_of(rows)
    assert pace.seconds(1000, 5) == pytest.approx(20 + 1.5 + 1.5)
    assert pace.spread == pytest.approx(PRIOR / math.sqrt(3)), "no trial is off, and only the prior is"


def test_the_spread_is_that_of_the_residuals_when_they_are_many() -> None:
    assert spread_of([0.5, -0.5] * 200) == pytest.approx(0.5, rel=0.01)
    assert spread_of([0.0] * 399 + [10.0]) < 0.03
    assert spread_of([]) == PRIOR


def test_nine_of_ten_like_trials_lie_in_the_interval() -> None:
    one = Estimate(100.0, 0.2, 10**6, "like trials")
    low, high = one.interval
    assert math.log(high / 100) == pytest.approx(1.645 * 0.2, rel=1e-3)
    assert low * high == pytest.approx(100**2)
