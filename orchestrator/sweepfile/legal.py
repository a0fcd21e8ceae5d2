"""What is legal for a setting, in words, read from the JSON Schema that pydantic derives from its type."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]
Loc = tuple[str | int, ...]


@cache
def schema_of(model: type[BaseModel]) -> Schema:
    """The JSON Schema of a model's input."""
    return model.model_json_schema(mode="validation")


def at(root: Schema, loc: Loc) -> Schema | None:
    """The part of a schema that describes the value at a place; None where there is none.

    The place may name the branch of a union as pydantic does: by the ``kind`` of its mapping.

    >>> from engine.methods.dropattack import Config
    >>> at(schema_of(Config), ("epsilon", "input"))["minimum"]
    0
    """
    places = _variants(root, root)
    for part in loc:
        inside = [v for place in places for inner in _inside(place, part) for v in _variants(inner, root)]
        places = inside or _branch(places, part)
    return {"anyOf": places} if len(places) > 1 else places[0] if places else None


def keys(root: Schema, loc: Loc) -> list[str]:
    """Names of the settings of the mapping at a place."""
    place = at(root, loc)
    return sorted({name for v in _variants(place or {}, root) for name in v.get("properties", {})})


def describe(schema: Schema | None, root: Schema, given: object = None) -> str:
    """In words, e.g. ``a number >= 0``; empty where the schema says nothing.

    ``given`` is the value that was refused: a word is answered with the nearest legal word.

    >>> describe({"type": "number", "exclusiveMinimum": 0}, {}), describe({"enum": ["max", "min"]}, {})
    ('a number > 0', "'max' or 'min'")
    """
    if schema is None:
        return ""
    variants = _variants(schema, root)
    words = [_describe(variant, root) for variant in variants]
    legal = " or ".join(dict.fromkeys(word for word in words if word))
    choices = [str(c) for variant in variants for c in variant.get("enum", [])]
    near = get_close_matches(given, choices, n=1) if isinstance(given, str) else []
    return f"did you mean {near[0]!r}? legal: {legal}" if near else legal


def _variants(schema: Schema, root: Schema) -> list[Schema]:
    """What ``$ref`` and ``anyOf`` lead to."""
    if "$ref" in schema:
        return _variants(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
    branches = schema.get("anyOf") or schema.get("oneOf")
    return [v for branch in branches for v in _variants(branch, root)] if branches else [schema]


def _inside(schema: Schema, part: str | int) -> list[Schema]:
    if isinstance(part, int):
        fixed = schema.get("prefixItems", [])
        inner = fixed[part] if part < len(fixed) else schema.get("items")
    else:
        inner = schema.get("properties", {}).get(part) or schema.get("additionalProperties")
    return [inner] if isinstance(inner, dict) else []


def _branch(places: list[Schema], tag: str | int) -> list[Schema]:
    """The mappings of this kind; where none has it, those of a union that go without a kind."""
    kinds = [(place, place.get("properties", {}).get("kind", {}).get("const")) for place in places]
    tagged = [place for place, kind in kinds if kind == tag]
    untagged = [place for place, kind in kinds if kind is None and "properties" in place]
    return tagged or (untagged if len(untagged) < len(places) else [])


def _describe(schema: Schema, root: Schema) -> str:
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return " or ".join(repr(value) for value in schema["enum"])
    match schema.get("type"):
        case "integer":
            return "a whole number" + _range(schema)
        case "number":
            return "a number" + _range(schema)
        case "array":
            return _list(schema, root)
        case "object":
            names = sorted(schema.get("properties", {}))
            return f"a mapping with {', '.join(names)}" if names else "a mapping"
        case "string" if "pattern" in schema:
            return str(schema.get("description", "a text"))
        case kind:
            return {"boolean": "true or false", "string": "a text", "null": "null"}.get(str(kind), "")


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" in [{low:g}, {high:g}]"
    bounds = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    return "".join(f" {sign} {schema[key]:g}" for key, sign in bounds.items() if key in schema)


def _list(schema: Schema, root: Schema) -> str:
    if "prefixItems" in schema:
        return f"a list of {', '.join(describe(item, root) or 'a value' for item in schema['prefixItems'])}"
    least = " of at least one value" if schema.get("minItems") else ""
    inner = describe(schema.get("items"), root)
    return f"a list{least}" + (f", each {inner}" if inner else "")
