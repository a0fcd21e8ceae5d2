"""What is wrong with the trial of one point, traced back to the axis or the block that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from engine.components import Kind, find, names
from engine.config import Trial
from engine.errors import InputError, did_you_mean
from engine.methods.base import Composition
from engine.update import OPTIMIZERS, SCHEDULES
from orchestrator.sweepfile.legal import Loc, Schema, keys, schema_of
from orchestrator.sweepfile.problems import Problem, of_input, of_validation
from orchestrator.sweepfile.yaml_file import Where

_KINDS: dict[str, Kind] = {"data": "data", "model": "models", "method": "methods"}
_CHOICES: dict[str, dict[str, Any]] = {"optimizer": dict(OPTIMIZERS), "schedule": dict(SCHEDULES)}
_SLOTS = (*_KINDS, *_CHOICES)


@dataclass(frozen=True)
class Assignment:
    """One setting of one point: its dotted name, its value, and where that stands in the sweep."""

    name: str
    value: Any
    where: Where


def trace(
    error: ValidationError | InputError, settings: Mapping[str, Any], made_by: Sequence[Assignment]
) -> list[Problem]:
    """The problems of a trial, by their places in the sweep.

    Args:
        error: what validating the trial raised. settings: of the trial.
        made_by: the settings that the point sets on the base trial.
    """
    parent = settings.get("init")
    if isinstance(parent, Mapping) and isinstance(parent.get("from"), Mapping) and _starts(settings):
        made_by = [Assignment(str(k), v, ("trial", "init", "from", k)) for k, v in parent["from"].items()]
    if isinstance(error, InputError):
        found = [of_input(error)]
    else:
        found = of_validation(error, lambda loc: _lookup(loc, settings), settings)
    return [_placed(_suggested(problem, settings), made_by) for problem in found]


def _starts(settings: Mapping[str, Any]) -> bool:
    """Whether the trial is sound when it starts afresh, so that what is wrong is wrong in its parent."""
    try:
        Trial.model_validate({**settings, "init": None})
    except ValueError:
        return False
    return True


def _placed(problem: Problem, made_by: Sequence[Assignment]) -> Problem:
    """At the most specific assignment that covers the place, else in the base trial."""
    covering = [a for a in made_by if problem.where[: a.name.count(".") + 1] == tuple(a.name.split("."))]
    if not covering:
        return Problem(("trial", *problem.where), problem.text)
    source = max(covering, key=lambda a: a.name.count("."))
    inner = problem.where[source.name.count(".") + 1 :]
    if not inner and problem.text.startswith("unknown"):
        return Problem(_axis(source.where), problem.text)
    return Problem((*source.where, *inner), problem.text)


def _axis(where: Where) -> Where:
    """The axis itself, without the position of the value."""
    return where[:-1] if where and isinstance(where[-1], int) else where


def _lookup(loc: Loc, settings: Mapping[str, Any]) -> tuple[Schema, Loc, str]:
    if not loc or loc[0] not in _SLOTS:
        return schema_of(Trial), loc, ""
    slot = str(loc[0])
    component, name = _component(slot, settings.get(slot))
    if len(loc) == 1 and component is None:
        return {"enum": _known(slot)}, (), ""
    if component is None:
        return schema_of(Trial), loc, ""
    return schema_of(component), loc[1:], f" of {name}" if name else ""


def _component(slot: str, given: Any) -> tuple[type[BaseModel] | None, str]:
    """The class whose settings these are, None where there is none by that name."""
    name = given.get("name", "") if isinstance(given, Mapping) else given or ""
    if slot == "method" and isinstance(given, Mapping) and not name:
        return Composition, ""
    if name not in _known(slot):
        return None, str(name)
    return _CHOICES[slot][name] if slot in _CHOICES else find(_KINDS[slot], name, f"{slot}.name"), name


def _known(slot: str) -> list[str]:
    return list(_CHOICES[slot]) if slot in _CHOICES else names(_KINDS[slot])


def _suggested(problem: Problem, settings: Mapping[str, Any]) -> Problem:
    """With the full dotted name where only the last part of it was given: ``epsilon``."""
    if len(problem.where) != 1 or not problem.text.startswith("unknown"):
        return problem
    word = str(problem.where[0])
    for slot in _SLOTS:
        schema, _, _ = _lookup((slot,), settings)
        if word in keys(schema, ()):
            return Problem(problem.where, f"unknown setting; did you mean '{slot}.{word}'?")
    top = [name for name in Trial.model_fields if name != "seed"]
    return Problem(problem.where, f"unknown setting; {did_you_mean(word, top)}")
