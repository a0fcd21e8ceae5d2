from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from orchestrator.planning import decisions
from orchestrator.planning.decisions import Values, difference, further_for_best, race, reproduction


def test_the_interval_of_paired_differences_is_students() -> None:
    draw = random.Random(0)
    a = {seed: draw.gauss(0.9, 0.01) for seed in range(6)}
    b = {seed: a[seed] + draw.gauss(0.002, 0.003) for seed in range(5)} | {9: 0.5}
    found = difference(decisions.paired(a, b), 0.95)
    both = range(5)
    wanted = stats.ttest_rel([a[s] for s in both], [b[s] for s in both]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert found.n == 5


def test_fewer_than_two_values_say_nothing() -> None:
    assert difference([0.3], 0.9) == decisions.Difference(0.3, -math.inf, math.inf, 1)
    assert math.isnan(difference([], 0.9).mean)


@pytest.mark.parametrize(("mode", "best"), [("max", "high"), ("min", "low")])
def test_the_race_goes_by_the_metrics_direction(mode: str, best: str) -> None:
    cells: dict[str, Values] = {
        "low": {0: 0.10, 1: 0.21, 2: 0.30},
        "high": {0: 0.50, 1: 0.60, 2: 0.70},
        "near": {0: 0.50, 1: 0.61, 2: 0.69} if mode == "max" else {0: 0.10, 1: 0.20, 2: 0.31},
    }
    states = {cell: one.state for cell, one in race(cells, mode).items()}  # type: ignore[arg-type]
    other = {"high": "low", "low": "high"}[best]
    assert states[other] == "beaten"
    assert {states[best], states["near"]} == {"in the race"}


def test_what_the_seeds_share_does_not_hide_a_difference() -> None:
    """Values differ far more between seeds than between cells: unpaired intervals overlap."""
    worse = {seed: 0.8 + 0.05 * seed for seed in range(4)}
    better = {seed: value + 0.01 + 0.0001 * seed for seed, value in worse.items()}
    assert race({"a": worse, "b": better}, "max")["a"].state == "beaten"


def test_a_cell_with_a_lost_seed_is_in_no_race_and_leads_none() -> None:
    found = race({"a": {0: 0.99, 1: None}, "b": {0: 0.5, 1: 0.6}, "c": {}}, "max")
    assert [found[cell].state for cell in "abc"] == ["no value", "best", "no value"]
    assert decisions.leader_of({"a": {0: None}}, "max") is None
    assert further_for_best({"a": {0: None}, "b": {}}, "max", 5) == set()


def test_seeds_go_to_the_cells_in_the_race_and_to_the_leader() -> None:
    cells: dict[str, Values] = {
        "lead": {0: 0.90, 1: 0.92},
        "near": {0: 0.89, 1: 0.92},
        "far": {0: 0.10, 1: 0.121},
    }
    assert further_for_best(cells, "max", 10) == {("lead", 2), ("near", 2)}
    assert further_for_best(cells, "max", 2) == set(), "none is left"


def test_who_leads_is_asked_of_the_cells_with_the_most_seeds() -> None:
    """Two lucky seeds do not make a leader of a cell that the pairs say is beaten."""
    leader = {0: 0.95, 1: 0.96, 2: 0.85, 3: 0.86}
    lucky = {0: 0.93, 1: 0.9401}
    assert decisions.leader_of({"a": leader, "b": lucky}, "max") == "a"


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.900, 0.901, 0.902], "reproduced"),
        ([0.930, 0.931, 0.932], "higher"),
        ([0.870, 0.871, 0.872], "lower"),
        ([0.88, 0.90, 0.93], "inconclusive"),
        ([0.9105, 0.9125, 0.9150], "inconclusive"),
        ([0.9], ""),
        ([], "not run"),
        ([None], "failed"),
        ([0.900, 0.901, 0.902, None], "failed"),
    ],
)
def test_verdicts(values: list[float | None], verdict: str) -> None:
    found = reproduction(dict(enumerate(values)), published=0.9, margin=0.01)
    assert found.verdict == verdict
    assert found.difference.n == sum(value is not None for value in values)


def test_the_verdict_is_two_one_sided_tests_at_five_per_cent() -> None:
    values = [0.895, 0.903, 0.901, 0.898]
    low = stats.ttest_1samp(values, 0.89, alternative="greater").pvalue
    high = stats.ttest_1samp(values, 0.91, alternative="less").pvalue
    assert max(low, high) < 0.05
    assert reproduction(dict(enumerate(values)), 0.9, 0.01).verdict == "reproduced"
    tighter = max(stats.ttest_1samp(values, 0.9 - m, alternative="greater").pvalue for m in (0.0045,))
    assert tighter > 0.05
    assert reproduction(dict(enumerate(values)), 0.9, 0.0045).verdict == "inconclusive"
