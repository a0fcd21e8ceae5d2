from __future__ import annotations

import math
from itertools import product
from typing import Any

import optuna
import pytest

from orchestrator.planning.space import DRAWS, distribution, in_space, kept, name_of, untried
from orchestrator.sweepfile.parts import Searched

SMALL: dict[str, Any] = {"a": {"int": [1, 3]}, "b": {"choice": ["x", "y"]}}
LARGE: dict[str, Any] = {"p": {"uniform": [0, 1]}, "e": {"log_uniform": [0.01, 10]}, "c": {"choice": [1, 2]}}


def space_of(space: dict[str, Any]) -> dict[str, Searched]:
    return {name: Searched.model_validate(one) for name, one in space.items()}


def test_a_small_space_is_gone_through_whole() -> None:
    points = list(untried(space_of(SMALL), {name_of({"a": 2, "b": "x"})}, 0))
    wanted = {(a, b) for a, b in product([1, 2, 3], "xy")} - {(2, "x")}
    assert {(point["a"], point["b"]) for point in points} == wanted
    assert len(points) == 5
    other = [name_of(point) for point in untried(space_of(SMALL), (), 1)]
    assert other != [name_of(point) for point in untried(space_of(SMALL), (), 0)], "another order"


def test_conditions_hold_in_every_point() -> None:
    space = space_of(SMALL | {"c": {"int": [5, 6], "when": {"b": "y"}}})
    points = list(untried(space, (), 0))
    assert len(points) == 3 + 3 * 2
    assert all(("c" in point) == (point["b"] == "y") for point in points)


def test_a_large_space_is_drawn_from() -> None:
    space = space_of(LARGE)
    points = list(untried(space, (), 0))
    assert len(points) == DRAWS
    assert all(in_space(point, space) for point in points)
    logs = [math.log10(point["e"]) for point in points]
    assert sum(logs) / DRAWS == pytest.approx(-0.5, abs=0.2), "uniform in the logarithm"
    assert points == list(untried(space, (), 0))


def test_what_optuna_keeps() -> None:
    space = space_of(LARGE | {"d": {"choice": [{"name": "fgm"}, None, 5]}})
    found = kept({"p": 1, "e": 3, "d": {"name": "fgm"}}, space)
    assert found == {"p": 1.0, "e": 3.0, "d": '{"name": "fgm"}'}
    assert type(found["p"]) is float
    assert kept({"d": 5.0}, space)["d"] == 5
    assert all(
        distribution(space[n])._contains(distribution(space[n]).to_internal_repr(v)) for n, v in found.items()
    )


def test_distributions() -> None:
    space = space_of(LARGE | SMALL)
    assert distribution(space["e"]) == optuna.distributions.FloatDistribution(0.01, 10, log=True)
    assert distribution(space["a"]) == optuna.distributions.IntDistribution(1, 3)
    assert distribution(space["b"]) == optuna.distributions.CategoricalDistribution(["x", "y"])


def test_labels_outside_the_space() -> None:
    space = space_of(LARGE)
    assert in_space({"p": 0.5}, space)
    assert not in_space({"p": 2}, space)
    assert not in_space({"q": 0.5}, space)
