"""From a sweep to its points and cells: axes, zipped lists and named points, multiplied out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from pydantic import ValidationError

from engine.config import Trial, override
from engine.errors import InputError
from orchestrator.planning import population
from orchestrator.planning.cells import Cell, Grid, Point
from orchestrator.sweepfile.dimensions import POINT
from orchestrator.sweepfile.evaluations import load_plugins
from orchestrator.sweepfile.problems import Problem, of_input
from orchestrator.sweepfile.sweep import Sweep
from orchestrator.sweepfile.trial_problems import Assignment, trace

Choice = tuple[dict[str, Any], list[Assignment]]
"""One place along a dimension: its labels, and what it sets."""


class _PointError(Exception):
    """A point whose trial is not legal."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems


def expand(sweep: Sweep) -> Grid:
    """All points of a sweep and the cells behind them.

    The points are the product of the named points, the zipped groups and the axes, in this order, the
    last one running fastest. Points that are equal by meaning share one cell, whose trial is that of
    the first. A search has no points beforehand: its bounds are checked, and the grid is empty.

    Raises:
        SweepError: every value that makes a point illegal, by the place where it stands.
    """
    load_plugins(sweep)
    if sweep.search:
        _check_search(sweep)
        return Grid((), {})
    points: list[Point] = []
    cells: dict[str, Cell] = {}
    failures: list[tuple[Problem, Mapping[str, Any]]] = []
    for labels, made_by in _points(sweep):
        try:
            cell = _cell(sweep, made_by)
        except _PointError as bad:
            failures += [(problem, labels) for problem in bad.problems]
            continue
        points.append(Point(labels, cell.key))
        if sweep.population and cell.key not in cells:
            failures += [(problem, labels) for problem in _varied(sweep, made_by, cell)]
        cells.setdefault(cell.key, cell)
    sweep.source.fail(_told(failures, anything_works=bool(points)))
    grid = Grid(tuple(points), cells)
    return population.enrolled(sweep, grid) if sweep.population else grid


def expand_one(sweep: Sweep, settings: Mapping[str, Any]) -> tuple[Point, Cell]:
    """One point of a search, by the values that were chosen for it.

    Args:
        settings: value of each searched setting by its dotted name.

    Raises:
        SweepError: the values make no legal trial.
    """
    load_plugins(sweep)
    try:
        cell = _cell(sweep, [Assignment(name, value, ("search", name)) for name, value in settings.items()])
    except _PointError as bad:
        sweep.source.fail(bad.problems)
        raise
    return Point(dict(settings), cell.key), cell


def _points(sweep: Sweep) -> Iterator[Choice]:
    for choices in product(*_dimensions(sweep)):
        labels: dict[str, Any] = {}
        made_by: list[Assignment] = []
        for label, assignments in choices:
            labels |= label
            made_by += assignments
        yield labels, made_by


def _dimensions(sweep: Sweep) -> Iterator[list[Choice]]:
    if sweep.points:
        yield [
            ({POINT: point}, [Assignment(n, v, ("points", point, n)) for n, v in settings.items()])
            for point, settings in sweep.points.items()
        ]
    for g, group in enumerate(sweep.zip):
        yield [
            (dict(zip(group, row, strict=True)),
             [Assignment(n, v, ("zip", g, n, i)) for n, v in zip(group, row, strict=True)])
            for i, row in enumerate(zip(*group.values(), strict=True))
        ]  # fmt: skip
    for name, values in sweep.axes.items():
        yield [({name: v}, [Assignment(name, v, ("axes", name, i))]) for i, v in enumerate(values)]


def _cell(sweep: Sweep, made_by: list[Assignment]) -> Cell:
    settings = {"optimizer": Trial.model_fields["optimizer"].default.name} | sweep.trial
    # a setting inside a component is applied after the component itself, in whatever order they stand
    for one in sorted(made_by, key=lambda a: a.name.count(".")):
        try:
            override(settings, one.name, one.value)
        except InputError as error:
            raise _PointError([Problem(one.where, of_input(error).text)]) from error
    try:
        trial = Trial.model_validate({**settings, "seed": sweep.seeds[0]})
        return Cell.of(trial)
    except (ValidationError, InputError) as error:
        raise _PointError(trace(error, settings, made_by)) from error


def _varied(sweep: Sweep, made_by: list[Assignment], cell: Cell) -> Iterator[Problem]:
    """What is wrong with the settings of a member at the bounds within which they vary."""
    told = False
    for place, name, value in population.edges(sweep):
        others = [one for one in made_by if one.name != name]
        try:
            _cell(sweep, [*others, Assignment(name, value, place)])
        except _PointError as bad:
            told = True
            yield from bad.problems
    if not told:
        yield from population.beginnings(sweep, cell)


def _check_search(sweep: Sweep) -> None:
    problems: list[Problem] = []
    for probe in probes(sweep):
        made_by = [Assignment(name, value, ("search", name)) for name, value in probe.items()]
        try:
            _cell(sweep, made_by)
        except _PointError as bad:
            problems += bad.problems
    sweep.source.fail(problems)


def probes(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """Settings at the edges of a search: every bound and choice, beside the first values of the others."""
    for fixed, searched in sweep.search.items():
        for value in searched.extremes:
            chosen = _allow(sweep, fixed) | {fixed: value}
            probe: dict[str, Any] = {}
            for name, other in sweep.search.items():
                if other.active(probe):
                    probe[name] = chosen.get(name, other.extremes[0])
            yield probe


def _allow(sweep: Sweep, name: str) -> dict[str, Any]:
    """Values of earlier settings under which this one exists."""
    needed: dict[str, Any] = {}
    for other, values in sweep.search[name].when.items():
        needed |= _allow(sweep, other) | {other: values[0] if isinstance(values, list) else values}
    return needed


def _told(failures: list[tuple[Problem, Mapping[str, Any]]], anything_works: bool) -> Iterator[Problem]:
    """Each problem once; one of the base trial that only some points have says at which it shows."""
    first: dict[Problem, Mapping[str, Any]] = {}
    for problem, labels in failures:
        first.setdefault(problem, labels)
    for problem, labels in first.items():
        shown = ", ".join(f"{name} = {value}" for name, value in labels.items())
        some = anything_works and problem.where[0] == "trial" and shown
        yield Problem(problem.where, f"{problem.text} (at {shown})") if some else problem
