"""Optuna's samplers as they are built here: what TPE is set to, seen in what it proposes."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from orchestrator.planning.samplers import sampler_of
from orchestrator.planning.space import distribution
from orchestrator.sweepfile.sweep import Sweep
from tests.orchestrator.planning.searches import BOTH, searching

Place = tuple[float, float]

NAMES = ("method.epsilon", "method.p")
SPACE = {name: {"uniform": [0, 1]} for name in NAMES}
GRID = [((i + 0.5) / 10, (j + 0.5) / 10) for i, j in itertools.product(range(10), repeat=2)]
"""Cells whose value is the better the nearer they are to the diagonal, wherever on it."""


@pytest.fixture(params=["one objective", "two objectives"])
def sweep(request: pytest.FixtureRequest) -> Sweep:
    """A search by TPE; with several objectives Optuna's defaults are others."""
    more: dict[str, Any] = {} if request.param == "one objective" else {"objectives": BOTH}
    return searching(200, search=SPACE, sampler="tpe", **more)


def study_of(sweep: Sweep, under_way: Sequence[Place] = ()) -> optuna.Study:
    """A study that was told the grid, with further cells that run."""
    directions = ["maximize" if one.mode == "max" else "minimize" for one in sweep.goals]
    study = optuna.create_study(sampler=sampler_of(sweep, 0, []), directions=directions)  # type: ignore[arg-type]
    for place in GRID:
        study.add_trial(trial_at(sweep, place, values=[-abs(place[0] - place[1]), 0.0][: len(sweep.goals)]))
    for place in under_way:
        study.add_trial(trial_at(sweep, place, state=TrialState.RUNNING))
    return study


def trial_at(sweep: Sweep, place: Place, **more: Any) -> optuna.trial.FrozenTrial:
    return create_trial(
        params=dict(zip(NAMES, place, strict=True)), distributions=distributions(sweep), **more
    )


def distributions(sweep: Sweep) -> dict[str, optuna.distributions.BaseDistribution]:
    return {name: distribution(sweep.search[name]) for name in NAMES}


def proposed(study: optuna.Study, sweep: Sweep) -> Place:
    params = study.ask(distributions(sweep)).params
    return params[NAMES[0]], params[NAMES[1]]


def test_tpe_learns_settings_together(sweep: Sweep) -> None:
    """Each of them alone tells nothing: one at a time they are proposed as far off as at random, 1/3."""
    study = study_of(sweep)
    places = [proposed(study, sweep) for _ in range(20)]
    assert statistics.fmean(abs(x - y) for x, y in places) < 0.2
    assert max(x for x, _ in places) - min(x for x, _ in places) > 0.5, "all along the diagonal"


def test_tpe_keeps_away_from_cells_under_way(sweep: Sweep) -> None:
    alone = proposed(study_of(sweep), sweep)
    assert proposed(study_of(sweep), sweep) == alone, "it is seeded"
    beside = proposed(study_of(sweep, [alone] * 5), sweep)
    assert max(abs(a - b) for a, b in zip(alone, beside, strict=True)) > 0.1
