"""``--set name=value``: changes to a sweep file from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from itertools import pairwise
from typing import Any

from ruamel.yaml import YAML

from engine.config import override
from engine.errors import InputError
from orchestrator.sweepfile.yaml_file import Where, YamlError, assignment

Override = tuple[Where, str]
"""A place that was set, and the text that set it."""


def apply(content: dict[str, Any], texts: Sequence[str]) -> tuple[Override, ...]:
    """Set values in place, by dotted names that start at the top of the file.

    Names of axes and of searched settings are dotted themselves: ``axes.method.p=[0, 0.5]``; a list of
    ``zip`` is named by its position, ``zip.0.method.p``, an evaluation too, ``evaluations.0.steps``; a
    named point by its name.

    Raises:
        YamlError: a text is not ``name=value``, or its name leads through a plain value.
    """
    return tuple((_set(content, *assignment(text), text), text) for text in texts)


def written(content: dict[str, Any], overrides: Sequence[Override]) -> str:
    """A sweep with overrides as a file of its own, so that it can be run again without them."""
    yaml = YAML(typ="safe", pure=True)
    yaml.width = 110
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # annotated None, holds a bool
    text = StringIO()
    yaml.dump(content, text)
    head = "".join(f"# run with --set {' '.join(given.split())}\n" for _, given in overrides)
    return head + text.getvalue()


def _set(content: dict[str, Any], dotted: str, value: Any, text: str) -> Where:
    block, _, rest = dotted.partition(".")
    where = _place(content, block, rest)
    holder: Any = content
    try:
        if where is None:
            override(content, dotted, value)
            return tuple(dotted.split("."))
        for step, after in pairwise(where):
            if isinstance(after, str) and isinstance(holder, dict) and holder.get(step) is None:
                holder[step] = {}
            holder = holder[step]
        holder[where[-1]] = value
    except InputError as error:
        raise YamlError(f"--set {text}: {error}") from error
    except (TypeError, LookupError) as error:
        raise YamlError(f"--set {text}: {block} of the file has no such place") from error
    return where


def _place(content: dict[str, Any], block: str, rest: str) -> Where | None:
    """The place of a setting whose own name holds dots, or in a list; None for all others."""
    if not rest or block not in ("axes", "search", "points", "zip", "evaluations"):
        return None
    if block == "evaluations":
        return (block, *(int(part) if part.isdigit() else part for part in rest.split(".")))
    if block in ("axes", "search"):
        return (block, rest)
    known = content.get(block)
    if block == "zip":
        position, _, name = rest.partition(".")
        return (block, int(position), name) if position.isdigit() and name else (block, rest)
    points = [p for p in known or () if rest.startswith(f"{p}.")] if isinstance(known, dict) else []
    point = max(points, key=len, default=rest.partition(".")[0])
    name = rest[len(point) + 1 :]
    return (block, point, name) if name else (block, point)
