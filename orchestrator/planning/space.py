"""The search space: what Optuna suggests as settings, settings as Optuna keeps them, points not yet tried."""

from __future__ import annotations

import json
import random
from collections.abc import Container, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.planning.expand import expand_one
from orchestrator.records.row import Row
from orchestrator.sweepfile.parts import Searched
from orchestrator.sweepfile.search_checks import inside, place_of
from orchestrator.sweepfile.sweep import Sweep

if TYPE_CHECKING:
    import optuna

Space = Mapping[str, Searched]
Settings = dict[str, Any]
"""A value for each searched setting that exists, by its dotted name."""

MOST_POINTS = 10_000
"""Points up to which a space is gone through whole when the sampler finds no new one."""

DRAWS = 200
"""Random points that are tried in a larger space."""


def suggest(trial: optuna.Trial, space: Space) -> Settings:
    """A value for each searched setting that exists beside those chosen before it."""
    chosen: Settings = {}
    for name, searched in space.items():
        if not searched.active(chosen):
            continue
        if searched.kind == "choice":
            kept = trial.suggest_categorical(name, _choices(searched))
            chosen[name] = (searched.choice or ())[_choices(searched).index(kept)]
        elif searched.kind == "int":
            low, high = searched.bounds
            chosen[name] = trial.suggest_int(name, int(low), int(high))
        else:
            log = searched.kind == "log_uniform"
            chosen[name] = trial.suggest_float(name, *searched.bounds, log=log)
    return chosen


def distribution(searched: Searched) -> optuna.distributions.BaseDistribution:
    """Optuna's form of a searched setting."""
    import optuna

    if searched.kind == "choice":
        return optuna.distributions.CategoricalDistribution(_choices(searched))
    low, high = searched.bounds
    if searched.kind == "int":
        return optuna.distributions.IntDistribution(int(low), int(high))
    return optuna.distributions.FloatDistribution(low, high, log=searched.kind == "log_uniform")


def kept(settings: Mapping[str, Any], space: Space) -> Settings:
    """Settings as Optuna keeps them: numbers of the kind that is searched, a mapping or a list as a text."""
    return {name: _kept(space[name], value) for name, value in settings.items()}


def _kept(searched: Searched, value: Any) -> Any:
    if searched.kind != "choice":
        return int(value) if searched.kind == "int" else float(value)
    place = place_of(searched, value)
    assert place is not None
    return _choices(searched)[place]


def _choices(searched: Searched) -> list[Any]:
    return [_plain(one) for one in searched.choice or ()]


def _plain(choice: Any) -> Any:
    """Optuna keeps scalars only."""
    return choice if choice is None or isinstance(choice, (bool, int, float, str)) else json.dumps(choice)


def in_space(labels: Mapping[str, Any], space: Space) -> bool:
    """Whether each label is a searched setting with a value that it can have."""
    return all(name in space and inside(space[name], value) for name, value in labels.items())


def settings_of(row: Row, sweep: Sweep) -> Settings | None:
    """The point of the search space that a row is at; None when it is at none.

    A row belongs to the space exactly when the base trial with the row's values of the searched settings
    is the row's cell.
    """
    settings: Settings = {}
    for name, searched in sweep.search.items():
        if searched.active(settings):
            value = _value(row.trial, name)
            if value is None or not inside(searched, value):
                return None
            settings[name] = value
    try:
        _, cell = expand_one(sweep, settings)
    except ValueError:  # the row's values are not legal beside this sweep's base trial
        return None
    return settings if cell.key == row.cell else None


def _value(trial: Mapping[str, Any], dotted: str) -> Any:
    """A setting of a resolved trial; a value given apart for input and weights counts when equal."""
    value: Any = trial
    for part in dotted.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    if isinstance(value, Mapping):
        values = list(value.values())
        return values[0] if values and all(v == values[0] for v in values) else None
    return value


def untried(space: Space, tried: Container[str], seed: int) -> Iterator[Settings]:
    """Points that were not tried, in random order: all of a small space, else :data:`DRAWS` random ones.

    Args:
        space: the settings. tried: points as :func:`name_of` writes them. seed: of the order.
    """
    draws = random.Random(seed)
    size = _size(space)
    if size is not None and size <= MOST_POINTS:
        points = list(_all(space))
        draws.shuffle(points)
    else:
        points = [_draw(space, draws) for _ in range(DRAWS)]
    yield from (point for point in points if name_of(point) not in tried)


def name_of(settings: Mapping[str, Any]) -> str:
    """A point as one text, the same for equal points."""
    return json.dumps(settings, sort_keys=True)


def _size(space: Space) -> int | None:
    """Number of points, conditions left aside; None where a setting is not counted."""
    size = 1
    for searched in space.values():
        if searched.kind in ("uniform", "log_uniform"):
            return None
        size *= len(_values(searched))
    return size


def _values(searched: Searched) -> range | tuple[Any, ...]:
    if searched.choice is not None:
        return searched.choice
    low, high = searched.bounds
    return range(int(low), int(high) + 1)


def _all(space: Space) -> Iterator[Settings]:
    """Every point of a space that is counted."""
    points: list[Settings] = [{}]
    for name, searched in space.items():
        points = [
            point | {name: value} if active else point
            for point in points
            for active in (searched.active(point),)
            for value in (_values(searched) if active else (None,))
        ]
    yield from points


def _draw(space: Space, draws: random.Random) -> Settings:
    chosen: Settings = {}
    for name, searched in space.items():
        if not searched.active(chosen):
            continue
        if searched.kind in ("choice", "int"):
            chosen[name] = draws.choice(_values(searched))
        else:
            chosen[name] = _uniform(searched, draws)
    return chosen


def _uniform(searched: Searched, draws: random.Random) -> float:
    from math import exp, log

    low, high = searched.bounds
    if searched.kind == "uniform":
        return draws.uniform(low, high)
    return min(max(exp(draws.uniform(log(low), log(high))), low), high)
