from __future__ import annotations

from typing import Any

import pytest

from orchestrator.sweepfile.problems import SweepError
from orchestrator.sweepfile.samplers import SAMPLERS
from orchestrator.sweepfile.search_checks import inside
from orchestrator.sweepfile.sweep import Sweep
from tests.orchestrator.planning.searches import BOTH, NUMBERS, searching

CONDITIONAL = {
    "method": {"choice": ["standard", "fgm"]},
    "method.epsilon": {"log_uniform": [0.1, 10], "when": {"method": "fgm"}},
}


def line_of(**changes: Any) -> str:
    with pytest.raises(SweepError) as caught:
        searching(**changes)
    (line,) = caught.value.problems
    return line


def test_defaults() -> None:
    found = searching().sampling
    assert (found.name, found.storage) == ("tpe", "memory")
    assert searching(sampler="qmc").sampling.model_dump() == {
        "name": "qmc", "storage": "memory", "sequence": "sobol", "scramble": True,
    }  # fmt: skip
    assert searching(sampler={"startup_trials": 5}).sampling.name == "tpe"


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        ("tpee", "sampler.name: 'tpee' is not legal: did you mean 'tpe'?"),
        ({"name": "tpe", "population": 3}, "sampler.population: unknown setting of tpe; "),
        ({"name": "nsga2", "population": 1}, "sampler.population: 1 is not legal: a whole number >= 2"),
        ({"name": "nsga2", "crossover": 2}, "sampler.crossover: 2 is not legal: a number in [0, 1]"),
        ({"name": "qmc", "sequence": "lhs"}, "sampler.sequence: 'lhs' is not legal: 'sobol' or 'halton'"),
        ({"name": "gp", "deterministic": 1}, "sampler.deterministic: 1 is not legal: true or false"),
        ({"storage": "optuna.db"}, "sampler.storage: 'optuna.db' is not legal: memory, sqlite:///FILE"),
        ({"storage": "sqlite:///"}, "sampler.storage: 'sqlite:///' is not legal: memory"),
    ],
)
def test_illegal_settings_are_one_line(sampler: Any, said: str) -> None:
    assert line_of(sampler=sampler).startswith(said)


@pytest.mark.parametrize("name", ["gp", "cmaes", "nsga2", "qmc"])
def test_conditions_are_refused_where_they_would_be_drawn_at_random(name: str) -> None:
    space = CONDITIONAL | {"method": {"int": [1, 2]}, "method.p": {"uniform": [0, 1]}}
    space["method.epsilon"] = {"uniform": [0, 1], "when": {"method": 1}}
    assert "no conditional settings, and search.method.epsilon has when" in line_of(
        search=space, sampler=name
    )


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_conditions_are_taken(name: str) -> None:
    assert searching(search=CONDITIONAL, sampler=name).sampling.conditional


def test_cmaes_takes_two_numbers_and_one_objective() -> None:
    one = {"method.p": {"uniform": [0, 1]}}
    choice = NUMBERS | {"method.steps": {"choice": [1, 3]}}
    assert "two searched numbers or more" in line_of(search=one, sampler="cmaes")
    assert "numbers only, and search.method.steps is a choice" in line_of(search=choice, sampler="cmaes")
    assert "one objective; several are for nsga2" in line_of(objectives=BOTH, sampler="cmaes")


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"cmaes"}))
def test_the_others_take_several_objectives(name: str) -> None:
    sweep = searching(objectives=BOTH, sampler=name)
    assert sweep.metric.name == "val.accuracy", "the first objective, where no metric is given"
    assert [one.mode for one in sweep.goals] == ["max", "min"]


def test_a_metric_beside_objectives_stays() -> None:
    sweep = searching(objectives=BOTH, metric={"name": "val.loss"})
    assert sweep.metric.name == "val.loss"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objectives": BOTH[:1]}, "objectives: is not legal: at least two"),
        ({"objectives": [BOTH[0], BOTH[0]]}, "objectives.1.name: 'val.accuracy' is not legal: metrics"),
        ({"objectives": [BOTH[0], {"name": "val.acuracy"}]}, "objectives.1.name: 'val.acuracy'"),
        ({"objectives": [BOTH[0], {"name": "test.loss"}]}, "objectives.1.name: 'test.loss'"),
        ({"try_first": [{"method.gamma": 1}]}, "try_first.0.method.gamma: is not legal: a searched setting;"),
        ({"try_first": [{"method.p": 0}]}, "try_first.0.method.p: 0 is not legal: a value of uniform"),
        ({"try_first": [{"method.steps": 1.5}]}, "try_first.0.method.steps: 1.5"),
        ({"try_first": [{}]}, "try_first.0: is not legal: {searched setting: value}"),
        ({"try_first": [{"method.p": 1}, {"method.p": 1.0}]}, "try_first.1: is not legal: points that"),
        (
            {"search": CONDITIONAL, "try_first": [{"method": "standard", "method.epsilon": 1}]},
            "try_first.0.method.epsilon: is not legal: it exists where method = fgm stands beside it",
        ),
        (
            {"search": {}, "budget": {}, "axes": {"method.p": [1]}, "sampler": "gp"},
            "sampler: is not legal without search",
        ),
        (
            {"search": {}, "budget": {}, "axes": {"method.p": [1]}, "try_first": [{"method.p": 1}]},
            "try_first: is not legal without search",
        ),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_one_line(changes: dict[str, Any], said: str) -> None:
    assert line_of(**changes).startswith(said)


def test_test_objectives_are_allowed_when_the_file_says_so() -> None:
    objectives = [BOTH[0], {"name": "test.loss"}]
    assert searching(objectives=objectives, allow_test_selection=True).goals[1].name == "test.loss"


def test_conditional_points_to_try_first() -> None:
    first = [{"method": "fgm", "method.epsilon": 1}, {"method": "standard"}]
    assert searching(search=CONDITIONAL, try_first=first).try_first == tuple(first)


def test_an_objective_of_an_evaluation_has_its_checkpoint() -> None:
    sweep: Sweep = searching(
        evaluations=[{"name": "clean", "checkpoint": "last", "split": "val"}],
        objectives=[{"name": "val.accuracy"}, {"name": "clean.accuracy"}],
    )
    assert [one.checkpoint for one in sweep.goals] == ["best", "last"]


def test_inside() -> None:
    space = searching(search=NUMBERS | {"method.steps": {"choice": [1, 5, True]}}).search
    steps = space["method.steps"]
    assert [inside(steps, value) for value in (5.0, True, 2, "5")] == [True, True, False, False]
    assert not inside(space["method.p"], True)


def test_a_database_without_its_driver_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.sweepfile.search_checks.find_spec", lambda name: None)
    line = line_of(sampler={"storage": "postgresql://me:secret@host/optuna"})
    assert line.startswith("sampler.storage: 'postgresql://...' is not legal: pip install 'psycopg[binary]'")
    assert "pip install cmaes" in line_of(search=NUMBERS, sampler="cmaes")
