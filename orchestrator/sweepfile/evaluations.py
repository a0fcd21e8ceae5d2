"""The ``evaluations`` block: settings of evaluations, each known in reports by its label."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from engine.components import find, load_plugin
from engine.errors import InputError, did_you_mean
from engine.evaluations.base import EvaluationConfig
from orchestrator.records.metrics import LABEL, RESERVED
from orchestrator.sweepfile.legal import schema_of
from orchestrator.sweepfile.problems import Problem, illegal, of_input, of_validation

if TYPE_CHECKING:
    from orchestrator.sweepfile.sweep import Sweep

CHECKPOINTS = ("best", "last")
"""What every trial can keep, and an evaluation look at; ``best.NAME`` depends on the trial."""


def named(value: Any) -> Any:
    """An evaluation without settings may be given by its name."""
    return {"name": value} if isinstance(value, str) else value


def load_plugins(sweep: Sweep) -> None:
    """Register the sweep's own components; free when they are known and unchanged.

    Raises:
        SweepError: a file is not there, does not import, or defines no component.
    """
    problems = []
    for i, path in enumerate(sweep.plugins):
        try:
            load_plugin(sweep.folder / path)
        except InputError as error:
            problems.append(Problem(("plugins", i), of_input(error).text))
    sweep.source.fail(problems)


def resolve(sweep: Sweep) -> tuple[EvaluationConfig, ...]:
    """The evaluations that a sweep asks for, each with its label.

    Raises:
        SweepError: settings that are not legal, or labels that are not.
    """
    if not sweep.evaluations:
        return ()
    load_plugins(sweep)
    found: list[EvaluationConfig] = []
    problems: list[Problem] = []
    for i, settings in enumerate(sweep.evaluations):
        try:
            found.append(_resolved(settings))
        except InputError as error:
            problems.append(_placed(i, of_input(error), {}))
        except ValidationError as error:
            problems += _illegal(i, settings, error)
    sweep.source.fail(problems)
    sweep.source.fail(_apart(found))
    return tuple(found)


def refused(sweep: Sweep, i: int, error: InputError) -> Problem:
    """The problem of an evaluation with a trial's data or model."""
    return _placed(i, of_input(error), sweep.evaluations[i])


def _resolved(settings: Mapping[str, Any]) -> EvaluationConfig:
    found = find("evaluations", settings.get("name"), "name")
    config: EvaluationConfig = found.model_validate(settings)  # type: ignore[attr-defined]
    return config.model_copy(update={"label": config.label or config.name})


def _illegal(i: int, settings: Mapping[str, Any], error: ValidationError) -> Iterator[Problem]:
    name = str(settings["name"])
    schema = schema_of(find("evaluations", name, "name"))
    for problem in of_validation(error, lambda loc: (schema, loc, f" of {name}"), settings):
        yield _placed(i, problem, settings)


def _placed(i: int, problem: Problem, settings: Mapping[str, Any]) -> Problem:
    """In the sweep's block; what comes from a check names the setting, or something of the trial's."""
    where = problem.where
    if where and where[0] in ("evaluation", "evaluations"):
        where = where[1:]
    return Problem(("evaluations", i, *where), problem.text)


def _apart(found: list[EvaluationConfig]) -> Iterator[Problem]:
    """Labels that can be part of a metric's name and tell evaluations apart, which differ."""
    labels: dict[str, int] = {}
    same: dict[str, int] = {}
    for i, one in enumerate(found):
        given = "label" in one.model_fields_set and one.label != one.name
        where = ("evaluations", i, "label") if given else ("evaluations", i)
        if one.checkpoint not in CHECKPOINTS and not one.checkpoint.startswith("best."):
            legal = did_you_mean(one.checkpoint, list(CHECKPOINTS))
            yield Problem(("evaluations", i, "checkpoint"), illegal(one.checkpoint, legal))
        if not re.fullmatch(LABEL, one.label):
            yield Problem(where, illegal(one.label, "letters, digits, - _ and spaces between them"))
        elif one.label in RESERVED:
            legal = f"a label that no other metric begins with, which {', '.join(RESERVED)} are"
            yield Problem(where, illegal(one.label, legal))
        elif one.label.lower() in labels:
            legal = f"a label of its own: evaluations.{labels[one.label.lower()]} is called so too"
            yield Problem(where, illegal(one.label, legal))
        elif (settings := repr(one.canonical())) in same:
            legal = f"settings that differ from those of evaluations.{same[settings]}"
            yield Problem(("evaluations", i), illegal(one.label, legal))
        labels.setdefault(one.label.lower(), i)
        same.setdefault(repr(one.canonical()), i)
