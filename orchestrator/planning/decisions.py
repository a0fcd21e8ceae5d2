"""Decisions from few seeds: which cell is the best, and whether a cell reproduces a published value.

Pure functions of the values that trials measured. Intervals are Student's t. One seed means the same data
order, initial weights and subset in every cell, so that two cells are compared by the differences of
their values, seed by seed.

Each comparison has its own level; there is no correction for how many are made or for how often they are
looked at. What a simulation says of it is in ``tests/orchestrator/planning/test_sequential.py``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

Values = Mapping[int, float | None]
"""The metric by seed; None where a trial ended without one. A seed that is to be run is not in it."""

RACE_LEVEL = 0.95
"""Of the interval of a paired difference to the leader."""

VERDICT_LEVEL = 0.90
"""Of the interval of a difference to a published value: two one-sided tests at 5 % each."""

State = Literal["best", "in the race", "beaten", "no value"]
Verdict = Literal["reproduced", "higher", "lower", "inconclusive", "not run", "failed", ""]
"""Empty with one seed, which allows no verdict."""


@cache
def t_quantile(level: float, freedom: int) -> float:
    """Half the width of Student's interval in standard errors: ``t((1 + level) / 2, freedom)``.

    >>> round(t_quantile(0.95, 4), 3)
    2.776
    """
    from scipy.special import stdtrit  # as scipy.stats.t does, whose import takes half a second more

    return float(stdtrit(freedom, (1 + level) / 2))


@dataclass(frozen=True)
class Difference:
    """A mean difference with its interval, which is infinite for fewer than two values."""

    mean: float
    low: float
    high: float
    n: int


def difference(values: Sequence[float], level: float) -> Difference:
    """The mean of some differences, ``± t((1 + level) / 2, n - 1) sd / sqrt(n)``.

    >>> found = difference([0.1, 0.3], 0.9)
    >>> round(found.mean, 3), round(found.low, 3), found.n
    (0.2, -0.431, 2)
    """
    n = len(values)
    if n < 2:
        return Difference(values[0] if values else math.nan, -math.inf, math.inf, n)
    mean = statistics.fmean(values)
    half = t_quantile(level, n - 1) * statistics.stdev(values) / math.sqrt(n)
    return Difference(mean, mean - half, mean + half, n)


@dataclass(frozen=True)
class Standing:
    """How a cell stands in the race for the best.

    Attributes:
        state: the leader is ``best`` when no other cell is in the race; a cell is in the race while the
            interval of its difference to the leader straddles 0; one of whose seeds ended without a
            value is in no race.
        to_leader: its paired difference to the leader over the seeds that both have.
    """

    state: State
    to_leader: Difference


def leader_of(cells: Mapping[str, Values], mode: Literal["max", "min"]) -> str | None:
    """The best mean among the cells with the most seeds; None where no cell has all its values."""
    sign = 1 if mode == "max" else -1
    whole = {cell: [one for one in v.values() if one is not None] for cell, v in cells.items() if _whole(v)}
    most = max(map(len, whole.values()), default=0)
    means = {cell: sign * statistics.fmean(v) for cell, v in whole.items() if len(v) == most}
    return max(means, key=lambda cell: means[cell], default=None)


def race(cells: Mapping[str, Values], mode: Literal["max", "min"]) -> dict[str, Standing]:
    """How every cell stands against the leader.

    >>> found = race({"a": {0: 0.9, 1: 0.92}, "b": {0: 0.5, 1: 0.521}, "c": {0: 0.9, 1: None}}, "max")
    >>> [one.state for one in found.values()]
    ['best', 'beaten', 'no value']
    """
    leader = leader_of(cells, mode)
    if leader is None:
        return {cell: Standing("no value", difference([], RACE_LEVEL)) for cell in cells}
    found = {cell: _standing(values, cells[leader], mode) for cell, values in cells.items()}
    alone = all(one.state != "in the race" for cell, one in found.items() if cell != leader)
    found[leader] = Standing("best" if alone else "in the race", difference([0.0] * 2, RACE_LEVEL))
    return found


def _standing(values: Values, leader: Values, mode: Literal["max", "min"]) -> Standing:
    between = difference(paired(values, leader), RACE_LEVEL)
    if not _whole(values):
        return Standing("no value", between)
    beaten = between.high < 0 if mode == "max" else between.low > 0
    return Standing("beaten" if beaten else "in the race", between)


def paired(values: Values, others: Values) -> list[float]:
    """Differences over the seeds of which both have a value."""
    return [
        value - other
        for seed, value in sorted(values.items())
        if value is not None and (other := others.get(seed)) is not None
    ]


def further_for_best(
    cells: Mapping[str, Values], mode: Literal["max", "min"], most: int
) -> set[tuple[str, int]]:
    """(cell, seed) that narrow the race: the next seed of each cell in it, and of the leader.

    Args:
        cells: values of all cells. mode: which is better. most: seeds that a cell may have.
    """
    leader = leader_of(cells, mode)
    standing = race(cells, mode)
    found: set[tuple[str, int]] = set()
    for cell in [cell for cell, one in standing.items() if one.state == "in the race" and cell != leader]:
        assert leader is not None
        both = cells[cell].keys() & cells[leader].keys()
        seed = next((seed for seed in range(most) if seed not in both), None)
        if seed is not None:
            found |= {(one, seed) for one in (cell, leader) if seed not in cells[one]}
    return found


@dataclass(frozen=True)
class Reproduction:
    """A measured mean beside a published value.

    Attributes:
        verdict: ``reproduced`` where the interval lies within the margin on either side, ``higher`` or
            ``lower`` where it lies beyond it, else ``inconclusive``; ``failed`` where a seed ended without
            a value.
        difference: measured minus published.
    """

    verdict: Verdict
    difference: Difference


def reproduction(values: Values, published: float, margin: float) -> Reproduction:
    """Compare by equivalence: two one-sided tests against the margin.

    >>> reproduction({0: 0.900, 1: 0.901, 2: 0.902}, published=0.9, margin=0.01).verdict
    'reproduced'
    >>> reproduction({0: 0.93}, published=0.9, margin=0.01).verdict
    ''

    Source: Schuirmann (1987), A comparison of the two one-sided tests procedure.
    """
    known = [value - published for value in values.values() if value is not None]
    found = difference(known, VERDICT_LEVEL)
    verdict: Verdict = "inconclusive"
    if len(known) < len(values):
        verdict = "failed"
    elif found.n < 2:
        verdict = "" if known else "not run"
    elif -margin < found.low and found.high < margin:
        verdict = "reproduced"
    elif found.low > margin:
        verdict = "higher"
    elif found.high < -margin:
        verdict = "lower"
    return Reproduction(verdict, found)


def further_for_published(
    cell: str, values: Values, targets: Iterable[tuple[float, float]], most: int
) -> set[tuple[str, int]]:
    """The cell's next seed, where a verdict against one of its targets (value, margin) is open."""
    open_ = any(reproduction(values, *target).verdict in ("inconclusive", "") for target in targets)
    seed = next((seed for seed in range(most) if seed not in values), None)
    return {(cell, seed)} if open_ and seed is not None else set()


def _whole(values: Values) -> bool:
    """Whether there are values, and no seed ended without one."""
    return bool(values) and None not in values.values()
