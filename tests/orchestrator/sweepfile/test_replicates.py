from __future__ import annotations

from typing import Any

import pytest

from orchestrator.sweepfile.problems import SweepError
from orchestrator.sweepfile.sweep import Sweep, from_dict

TRIAL = {"data": "digits", "model": "lenet5_8x8", "method": "dropattack"}
AXES = {"method.p": [0, 0.5]}
ONE = {"at": {"method.p": 0}, "value": 0.9, "margin": 0.01}


def sweep(**settings: Any) -> Sweep:
    return from_dict({"name": "a", "trial": TRIAL, "axes": AXES} | settings)


def test_seeds_by_a_rule() -> None:
    found = sweep(seeds={"most": 4})
    assert found.sequential is not None
    assert (found.sequential.start, found.sequential.decide, found.seeds) == (2, "best", (0, 1, 2, 3))
    assert sweep(seeds=3).sequential is None


def test_published_values_and_prices() -> None:
    found = sweep(published=[ONE], budget={"cost": 5, "price": {"cpu_hour": 0.04}})
    assert found.published[0].at == {"method.p": 0}
    assert found.budget.price is not None
    assert found.budget.price.cpu_hour == 0.04
    points = sweep(axes={}, points={"x": {}, "y": {"epochs": 2}}, published=[ONE | {"at": {"point": "y"}}])
    assert points.published[0].at == {"point": "y"}
    assert sweep(metric={"name": "val.loss"}, published=[ONE | {"value": 7.5, "margin": 2.0}]).published


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"seeds": {"start": 1}}, "seeds.start: 1 is not legal: a whole number >= 2"),
        ({"seeds": {"start": 4, "most": 4}}, "seeds: .* is not legal: more seeds at most than at the start"),
        ({"seeds": {"begin": 2}}, "seeds.begin: unknown setting; known: decide, most, start"),
        ({"seeds": {"decide": "bets"}}, "seeds.decide: 'bets' is not legal: did you mean 'best'?"),
        ({"seeds": {"decide": "published"}}, "seeds.decide: 'published' is not legal: best, or published: "),
        ({"budget": {"cost": 3}}, "budget.price: is missing: budget.cost needs one, e.g. price: {cpu_hour"),
        ({"budget": {"cost": 0, "price": {"cpu_hour": 1}}}, "budget.cost: 0 is not legal: a number > 0"),
        ({"budget": {"price": {}}}, "budget.price: {} is not legal: exactly one of {gpu_hour: 2.5}, "),
        ({"budget": {"price": {"gpu_hour": 2}}}, "budget.price: {gpu_hour: 2} is not legal: cpu_hour, since"),
        ({"published": [ONE | {"value": 90.0}]}, "published.0.value: 90.0 is not legal: a fraction as"),
        ({"published": [ONE | {"margin": 0}]}, "published.0.margin: 0 is not legal: a number > 0"),
        ({"published": [{"value": 0.9}]}, "published.0.margin: is missing: a number > 0"),
        ({"published": [ONE | {"at": {"method.q": 0}}]}, "published.0.at.method.q: is not legal: an axis"),
        ({"published": [ONE | {"at": {"method.p": 0.1}}]}, "published.0.at.method.p: 0.1 is not legal: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(settings: dict[str, Any], problem: str) -> None:
    import re

    with pytest.raises(SweepError) as caught:
        sweep(**settings)
    (line,) = caught.value.problems
    pattern = problem.replace("(", r"\(").replace("{", r"\{").replace("?", r"\?").replace("}", r"\}")
    assert re.match(pattern, line), line


def test_a_search_has_its_seeds_at_once_and_no_published_values() -> None:
    search = {"axes": {}, "search": {"method.p": {"uniform": [0, 1]}}, "budget": {"trials": 10}}
    with pytest.raises(SweepError, match="seeds: is not legal beside search"):
        sweep(**search, seeds={"start": 2})
    with pytest.raises(SweepError, match="published: is not legal beside search"):
        sweep(**search, published=[{"value": 0.9, "margin": 0.1}])
