from __future__ import annotations

import random
from typing import Any

import pytest

from orchestrator.planning.importances import ENOUGH, MOST, Scores, importances
from orchestrator.sweepfile.parts import Searched

SPACE = {
    name: Searched.model_validate(one)
    for name, one in {
        "p": {"uniform": [0, 1]},
        "e": {"log_uniform": [0.01, 10]},
        "k": {"int": [1, 5]},
    }.items()
}


def cells(n: int, slope: float = 1.0) -> list[tuple[dict[str, Any], float]]:
    """Values that p decides alone, but for a little noise."""
    draws = random.Random(0)
    points = [
        {"p": draws.random(), "e": 10 ** draws.uniform(-2, 1), "k": draws.randint(1, 5)} for _ in range(n)
    ]
    return [(point, slope * point["p"] + 0.01 * draws.random()) for point in points]


def test_the_setting_that_decides_comes_first() -> None:
    found = importances(SPACE, cells(60), maximise=True)
    assert found.settings[0] == "p"
    for shares in (found.fanova, found.ped_anova):
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["p"] > 0.5
    assert (found.n, found.fitted, found.quantile) == (60, 60, 0.1)
    assert found.dropped == ()


def test_the_direction_counts_for_the_best_cells() -> None:
    """Turned round, the other half of the cells is best, with the same importances by symmetry."""
    down = importances(SPACE, cells(60, -1.0), maximise=False)
    assert down.ped_anova["p"] > 0.5
    assert down.fanova == pytest.approx(importances(SPACE, cells(60, -1.0), maximise=True).fanova)


def test_conditional_settings_are_dropped_by_fanova_alone() -> None:
    space = SPACE | {"c": Searched.model_validate({"uniform": [0, 1], "when": {"k": 1}})}
    points = [(point | ({"c": 0.5} if point["k"] == 1 else {}), value) for point, value in cells(40)]
    found = importances(space, points, maximise=True)
    assert found.dropped == ("c",)
    assert set(found.ped_anova) == {"p", "e", "k", "c"}


def test_too_few_cells_say_how_many_are_needed() -> None:
    found = importances(SPACE, cells(ENOUGH - 1), maximise=True)
    assert found == Scores({}, {}, 19, why="at least 20 cells with a value; there are 19")
    assert importances(SPACE, cells(ENOUGH), maximise=True).quantile == 0.25, "five cells at least"


def test_equal_values_have_no_importances() -> None:
    same = [(point, 0.5) for point, _ in cells(30)]
    assert (
        importances(SPACE, same, maximise=True).why == "values that differ; those of all cells are the same"
    )


@pytest.mark.slow
def test_fanova_sees_some_of_many_cells() -> None:
    found = importances(SPACE, cells(MOST + 50), maximise=True)
    assert (found.n, found.fitted) == (MOST + 50, MOST)
