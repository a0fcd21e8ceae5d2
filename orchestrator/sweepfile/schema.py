"""The JSON Schema of a sweep file, with which editors complete and check it."""

from __future__ import annotations

import inspect
import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from engine.components import Kind, find, names
from engine.config import Init, Trial
from engine.evaluations.attacks import AttackConfig
from engine.evaluations.nested import AroundAttack
from engine.methods.base import Composition
from engine.slots.ascent import Ascent, InputAscent
from engine.update import OPTIMIZERS, SCHEDULES
from orchestrator.sweepfile.parts import Budget, Failures, Metric, Resources
from orchestrator.sweepfile.replicates import Price, Published, Sequential
from orchestrator.sweepfile.samplers import SAMPLERS
from orchestrator.sweepfile.sweep import Sweep

_KINDS: dict[str, Kind] = {
    "data": "data", "model": "models", "method": "methods", "evaluations": "evaluations",
}  # fmt: skip


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a sweep file.

    The trial's ``data``, ``model``, ``method``, ``optimizer`` and ``schedule`` and each evaluation are a
    component's name, or a mapping with the settings of that component; plugins that are loaded are among
    them. Descriptions are those of the docstrings. What several settings say of each other is checked by
    :mod:`orchestrator.sweepfile.sweep` alone.
    """
    components = _components()
    known: list[type[BaseModel]] = [
        Sweep,
        Metric,
        Resources,
        Budget,
        Failures,
        Trial,
        Init,
        Ascent,
        InputAscent,
    ]
    known += [Sequential, Published, Price]
    known += [model for models in components.values() for model in models.values()] + [Composition]
    known += list(SAMPLERS.values())
    references, schema = models_json_schema([(model, "validation") for model in known])
    definitions: dict[str, Any] = schema["$defs"]
    place: dict[Any, str] = {model: ref["$ref"].rsplit("/", 1)[-1] for (model, _), ref in references.items()}
    for model, name in place.items():
        _document(definitions[name], model)
    trial = definitions[place[Trial]]
    evaluations = components.pop("evaluations")
    for slot, models in components.items():
        described = trial["properties"][slot].get("description", "")
        trial["properties"][slot] = _choice(slot, models, place) | {"description": described}
    del trial["properties"]["seed"], trial["required"]  # axes or points may give what the base leaves out
    sweep = definitions.pop(place[Sweep])
    sweep["properties"]["trial"] |= {"$ref": f"#/$defs/{place[Trial]}"}
    for loose in ("type", "additionalProperties"):
        sweep["properties"]["trial"].pop(loose)
    sweep["properties"]["evaluations"]["items"] = _choice("evaluations", evaluations, place)
    described = sweep["properties"]["sampler"].get("description", "")
    samplers: dict[str, type[BaseModel]] = dict(SAMPLERS)
    sweep["properties"]["sampler"] = _choice("sampler", samplers, place) | {"description": described}
    attacks: dict[str, type[BaseModel]] = {
        name: model for name, model in evaluations.items() if issubclass(model, AttackConfig)
    }
    attack = _choice("evaluations", attacks, place)
    trial["properties"]["attacks"] = {"type": "object", "additionalProperties": attack}
    for model in evaluations.values():
        if issubclass(model, AroundAttack):
            definitions[place[model]]["properties"]["attack"] = attack
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "perturb-sweeps sweep file"}
    return _reached(sweep | head, definitions)


def _components() -> dict[str, dict[str, type[BaseModel]]]:
    found: dict[str, dict[str, type[BaseModel]]] = {
        slot: {name: find(kind, name, slot) for name in names(kind)} for slot, kind in _KINDS.items()
    }
    return found | {"optimizer": dict(OPTIMIZERS), "schedule": dict(SCHEDULES)}


def _choice(slot: str, models: dict[str, type[BaseModel]], place: dict[Any, str]) -> dict[str, Any]:
    """A name, or one component's settings."""
    classes = [*models.values(), *([Composition] if slot == "method" else [])]
    mappings = [{"$ref": f"#/$defs/{place[model]}"} for model in classes]
    return {"oneOf": [{"enum": list(models)}, *mappings]}


def _document(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Move the docstring's list of attributes to the properties it describes."""
    summary, _, _ = schema.get("description", "").partition("\n\nAttributes:")
    schema["description"] = summary.split("\n\n>>>")[0]
    told = {name: text for base in reversed(model.__mro__) for name, text in attributes(base).items()}
    for name, field in schema.get("properties", {}).items():
        if name in told:
            field.setdefault("description", told[name])


def attributes(model: type) -> dict[str, str]:
    """What a class's own docstring says of each attribute in its ``Attributes:`` section.

    >>> attributes(Budget)["hours"]
    'of wall time.'
    """
    _, _, section = inspect.cleandoc(model.__dict__.get("__doc__") or "").partition("\nAttributes:\n")
    block = section.split("\n\n")[0]
    entries = re.split(r"^ {4}(?=\S)|(?<=\.) (?=\w+: )", block, flags=re.MULTILINE)
    found: dict[str, str] = {}
    for entry in entries:
        named, colon, text = entry.partition(": ")
        if colon and re.fullmatch(r"\w+(, \w+)*", named):
            found |= {name.rstrip("_"): " ".join(text.split()) for name in named.split(", ")}
    return found


def _reached(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """With the definitions that it refers to, directly or not."""
    used: dict[str, Any] = {}
    wanted = _references(schema)
    while wanted:
        name = wanted.pop()
        if name not in used:
            used[name] = definitions[name]
            wanted |= _references(definitions[name])
    return schema | {"$defs": {name: used[name] for name in sorted(used)}}


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {str(value["$ref"]).rsplit("/", 1)[-1]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(_references(inner) for inner in value.values()))
    return set().union(*(_references(inner) for inner in value)) if isinstance(value, list) else set()
