"""The trials of a sweep as one population: what they are called, and the settings that they begin with."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.config import override
from engine.identity import canonical, digest
from orchestrator.planning.cells import Cell, Grid, Point
from orchestrator.planning.job import Job
from orchestrator.records.store import Store
from orchestrator.sweepfile.dimensions import dimensions
from orchestrator.sweepfile.parts import Searched
from orchestrator.sweepfile.problems import Problem, illegal
from orchestrator.sweepfile.schedulers import Pbt
from orchestrator.sweepfile.sweep import Sweep
from orchestrator.sweepfile.yaml_file import Where

LEAST = 4
"""Members of a population: of fewer none is better than a quarter of the others."""

MEMBER = "member-"
"""Begins the name of a checkpoint that others may take over; the epoch follows."""


def enrolled(sweep: Sweep, grid: Grid) -> Grid:
    """The grid with its cells as members of a population.

    A member is told from others by its trial, of which every member has its own, and by the population: the
    sweep's name, its rule, and all who take part, since its result depends on them.

    Raises:
        SweepError: too few members, or members that cannot take over from each other.
    """
    sweep.source.fail(_mismatches(sweep, list(grid.cells.values())))
    keys = sorted(cell.seeds.key(seed) for cell in grid.cells.values() for seed in sweep.seeds)
    form = {"sweep": sweep.name, "rule": sweep.rule, "members": digest({"keys": keys})}
    cells = {key: Cell.of(cell.trial, form) for key, cell in grid.cells.items()}
    points = tuple(Point(point.labels, cells[point.cell].key) for point in grid.points)
    return Grid(points, {cell.key: cell for cell in cells.values()})


def _mismatches(sweep: Sweep, cells: Sequence[Cell]) -> Iterator[Problem]:
    rule, count = _rule(sweep), len(cells) * len(sweep.seeds)
    if count < LEAST:
        legal = f"a population of {LEAST} members or more, cells x seeds, e.g. seeds: 8 and start: sample"
        yield Problem(("scheduler",), f"is not legal with {count}: {legal}")
    forms = [canonical(cell.trial) for cell in cells]
    for form in forms[1:]:
        other = sorted(
            name
            for name in form.keys() | forms[0].keys()
            if name not in ("method", "seed") and form.get(name) != forms[0].get(name)
        )
        if other:
            legal = "axes of the method's settings: members take over each other's weights"
            yield Problem(("scheduler",), f"is not legal where {other[0]} differs between cells: {legal}")
            return
    for cell in cells[:1]:
        trial = cell.trial
        if rule.every >= trial.epochs:
            legal = f"less than the {trial.epochs} epochs of a trial"
            yield Problem(("scheduler", "every"), illegal(rule.every, legal))
        if trial.init is not None:
            yield Problem(("trial", "init"), "is not legal beside scheduler: {name: pbt}: leave it out")
        for name in ("train_size", "labelled"):
            if getattr(trial.data, name) is not None and len(sweep.seeds) > 1:
                legal = "left out, or one seed: each seed draws others, and weights would have seen both"
                yield Problem(("trial", "data"), f"{name} is not legal in a population: {legal}")


def edges(sweep: Sweep) -> Iterator[tuple[Where, str, Any]]:
    """Place, dotted name and value of every bound and choice of the settings that vary."""
    for name, searched in _rule(sweep).mutate.items():
        for value in searched.extremes:
            yield ("scheduler", "mutate", name), name, value


def beginnings(sweep: Sweep, cell: Cell) -> Iterator[Problem]:
    """Settings that a cell's members begin with and that cannot vary from there."""
    for name, searched in _rule(sweep).mutate.items():
        if name in _sampled(sweep):
            continue
        value = _value(cell.trial.model_dump(mode="json"), name)
        if not _inside(searched, value):
            legal = f"a beginning within {_words(searched)}, or start: sample"
            yield Problem(("scheduler", "mutate", name), illegal(value, legal))


def beginning(sweep: Sweep, job: Job) -> dict[str, Any]:
    """The settings that vary, as a member begins with them: its trial's, or drawn by (rule, seed)."""
    found, sampled = {}, _sampled(sweep)
    for name, searched in _rule(sweep).mutate.items():
        if name in sampled:
            found[name] = drawn(searched, random.Random(f"{sweep.rule} {job.seed} {name}"))
        else:
            value = _value(job.trial, name)
            found[name] = float(value) if searched.kind in ("uniform", "log_uniform") else value
    return found


def drawn(searched: Searched, source: Any) -> Any:
    """A value of a setting.

    Args:
        source: of random numbers: a :class:`random.Random`, or the module.
    """
    if searched.choice is not None:
        return source.choice(searched.choice)
    low, high = searched.bounds
    if searched.kind == "int":
        return source.randint(int(low), int(high))
    if searched.kind == "uniform":
        return source.uniform(low, high)
    return inside(searched, low * (high / low) ** source.random())


def inside(searched: Searched, value: Any) -> Any:
    """The value, or the bound that it lies beyond.

    >>> inside(Searched(uniform=(0, 1)), 1.2), inside(Searched(choice=("a", "b")), "a")
    (1.0, 'a')
    """
    if searched.choice is not None:
        return value
    low, high = searched.bounds
    return type(value)(min(max(value, low), high))


def varied(trial: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a trial with some of them replaced, by dotted name.

    >>> varied({"method": {"name": "fgm", "epsilon": 1.0}}, {"method.epsilon": 2.0})
    {'method': {'name': 'fgm', 'epsilon': 2.0}}
    """
    found = dict(trial)
    for name, value in settings.items():
        override(found, name, value)
    return found


def clear(store: Store, jobs: Sequence[Job]) -> None:
    """Remove the checkpoints that members took over from each other: all are done."""
    for job in jobs:
        folder = f"checkpoints/{job.key}"
        names = store.names(folder)
        for name in names:
            if name.startswith(MEMBER):
                store.remove(f"{folder}/{name}")
        if names and not store.names(folder):
            store.remove_folder(folder)


def _rule(sweep: Sweep) -> Pbt:
    assert sweep.population is not None
    return sweep.population


def _sampled(sweep: Sweep) -> set[str]:
    """The settings that members begin with a draw of: those that no axis and no point sets."""
    rule = _rule(sweep)
    if rule.start == "trial":
        return set()
    given = {*dimensions(sweep), *(name for point in sweep.points.values() for name in point)}
    return set(rule.mutate) - given


def _value(trial: Mapping[str, Any], name: str) -> Any:
    """A setting of a trial by its dotted name; one number where all its parts, as of targets, are that."""
    place: Any = trial
    for part in name.split("."):
        place = place.get(part) if isinstance(place, Mapping) else None
    parts = list(place.values()) if isinstance(place, Mapping) else []
    return parts[0] if parts and all(part == parts[0] for part in parts) else place


def _inside(searched: Searched, value: Any) -> bool:
    if searched.choice is not None:
        return value in searched.choice
    low, high = searched.bounds
    return type(value) in (int, float) and low <= value <= high


def _words(searched: Searched) -> str:
    values = ", ".join(map(str, searched.extremes))
    return f"{{{searched.kind}: [{values}]}}"
