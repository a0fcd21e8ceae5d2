"""What the blocks of a search say of each other: space, sampler, objectives, points to try first, budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from engine.errors import did_you_mean
from orchestrator.sweepfile.parts import Searched, repeated
from orchestrator.sweepfile.problems import Problem, illegal
from orchestrator.sweepfile.samplers import DRIVERS

if TYPE_CHECKING:
    from orchestrator.sweepfile.sweep import Sweep


def check_search(sweep: Sweep) -> Iterator[Problem]:
    """Everything that contradicts itself in what a search is led by."""
    yield from _objectives(sweep)
    if sweep.search:
        yield from _sampler(sweep)
        yield from _try_first(sweep)
        return
    for block in ("sampler", "try_first"):
        if block in sweep.model_fields_set:
            yield Problem((block,), "is not legal without search: {setting: {uniform: [a, b]}}")


def inside(searched: Searched, value: Any) -> bool:
    """Whether a searched setting can have a value."""
    if searched.kind == "choice":
        return place_of(searched, value) is not None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if searched.kind == "int" and value != int(value):
        return False
    low, high = searched.bounds
    return bool(low <= value <= high)


def place_of(searched: Searched, value: Any) -> int | None:
    """Position of a value among the choices; 1 and 1.0 are the same, 1 and true are not."""
    for i, one in enumerate(searched.choice or ()):
        if one == value and isinstance(one, bool) is isinstance(value, bool):
            return i
    return None


def _objectives(sweep: Sweep) -> Iterator[Problem]:
    if "objectives" not in sweep.model_fields_set:
        return
    if len(sweep.objectives) < 2:
        yield Problem(("objectives",), "is not legal: at least two; a single one is metric: {name: ...}")
    twice = repeated([one.name for one in sweep.objectives])
    if twice is not None:
        name = sweep.objectives[twice].name
        yield Problem(("objectives", twice, "name"), illegal(name, "metrics that differ"))


def _sampler(sweep: Sweep) -> Iterator[Problem]:
    sampler = sweep.sampling
    if sweep.objectives and not sampler.several:
        legal = "one objective; several are for nsga2, tpe, gp, random and qmc"
        yield Problem(("sampler", "name"), illegal(sampler.name, legal))
    for name, searched in sweep.search.items():
        if sampler.numbers and searched.kind == "choice":
            legal = f"numbers only, and search.{name} is a choice; tpe, gp and nsga2 take choices"
            yield Problem(("sampler", "name"), illegal(sampler.name, legal))
        if searched.when and not sampler.conditional:
            legal = f"no conditional settings, and search.{name} has when; tpe and random take them"
            yield Problem(("sampler", "name"), illegal(sampler.name, legal))
    if sampler.name == "cmaes":
        if len(sweep.search) < 2:
            yield Problem(("sampler", "name"), illegal("cmaes", "two searched numbers or more"))
        if find_spec("cmaes") is None:
            yield Problem(("sampler", "name"), illegal("cmaes", "pip install cmaes, then run again"))
    kind = sampler.storage.partition("://")[0]
    if kind in DRIVERS and find_spec(DRIVERS[kind]) is None:
        package = "psycopg[binary]" if DRIVERS[kind] == "psycopg" else "psycopg2-binary"
        legal = f"pip install '{package}', then run again"
        yield Problem(("sampler", "storage"), illegal(f"{kind}://...", legal))


def _try_first(sweep: Sweep) -> Iterator[Problem]:
    for i, point in enumerate(sweep.try_first):
        if not point:
            yield Problem(("try_first", i), "is not legal: {searched setting: value}, one or more")
        for name, value in point.items():
            yield from _tried(sweep, i, name, value)
    twice = repeated(sweep.try_first)
    if twice is not None:
        yield Problem(("try_first", twice), "is not legal: points that differ; this one stands twice")


def _tried(sweep: Sweep, i: int, name: str, value: Any) -> Iterator[Problem]:
    """One value of a point to try first; where the setting is conditional, its condition must hold too."""
    point: Mapping[str, Any] = sweep.try_first[i]
    searched = sweep.search.get(name)
    if searched is None:
        legal = f"a searched setting; {did_you_mean(name, list(sweep.search))}"
        yield Problem(("try_first", i, name), f"is not legal: {legal}")
    elif not inside(searched, value):
        yield Problem(("try_first", i, name), illegal(value, f"a value of {_shown(searched)}"))
    elif not searched.active(dict(point)):
        needed = ", ".join(f"{other} = {wanted}" for other, wanted in searched.when.items())
        yield Problem(("try_first", i, name), f"is not legal: it exists where {needed} stands beside it")


def _shown(searched: Searched) -> str:
    if searched.kind == "choice":
        return f"choice {list(searched.choice or ())}"
    low, high = searched.bounds
    return f"{searched.kind} [{low:g}, {high:g}]"
