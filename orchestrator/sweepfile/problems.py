"""What is wrong with a sweep file, one line each: ``file:line: name: value is not legal: what is legal``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from engine.errors import InputError, did_you_mean
from orchestrator.sweepfile import legal
from orchestrator.sweepfile.yaml_file import Where

_ILLEGAL = " is not legal: "


class SweepError(ValueError):
    """A sweep that cannot run.

    Attributes:
        problems: everything that is wrong with it, one line each.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[SweepError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)  # travels between processes


@dataclass(frozen=True)
class Problem:
    """Something wrong at one place of a sweep.

    Attributes:
        where: the place, from the top of the file. text: what is wrong, and what is legal.
    """

    where: Where
    text: str

    @property
    def name(self) -> str:
        """Dotted name; of an axis without the position in its list, since the value is shown."""
        end = {"axes": 2, "zip": 3}.get(str(self.where[0]) if self.where else "")
        return ".".join(map(str, self.where[:end]))


@dataclass(frozen=True)
class Source:
    """Where the values of a sweep were written.

    Attributes:
        name: the file's name; empty for a sweep that comes from no file.
        lines: line of each value.
        overrides: places set from the command line, and the texts that set them.
    """

    name: str = ""
    lines: Mapping[Where, int] | None = None
    overrides: tuple[tuple[Where, str], ...] = ()

    def render(self, problem: Problem) -> str:
        """The problem in one line, led by the place to mend."""
        parts = (self._place(problem.where), problem.name, problem.text)
        return ": ".join(" ".join(part.split()) for part in parts if part)

    def fail(self, problems: Iterable[Problem]) -> None:
        """Raise when there is any problem.

        Raises:
            SweepError: with all of them, each once.
        """
        found = [self.render(problem) for problem in problems]
        if found:
            raise SweepError(found)

    def _place(self, where: Where) -> str:
        lines = self.lines or {}
        for place, text in reversed(self.overrides):
            inside = where[: len(place)] == place
            if inside or (where not in lines and place[: len(where)] == where):
                return f"--set {text}"
        while where and where not in lines:
            where = where[:-1]
        return f"{self.name}:{lines.get(where, 1)}" if self.name else ""


def show(value: object) -> str:
    """A value as the file has it, shortened.

    >>> show(True), show("3"), show([0, 0.5])
    ('true', "'3'", '[0, 0.5]')
    """
    if isinstance(value, str):
        text = repr(value)
    else:
        try:
            text = json.dumps(value)
        except TypeError:
            text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def illegal(value: object, what: str) -> str:
    """``value is not legal: what``."""
    return f"{show(value)}{_ILLEGAL}{what}"


def unknown(word: str, known: list[str], of: str = "") -> str:
    """An unknown setting; what it may have meant, and what there is."""
    return f"unknown setting{of}; {did_you_mean(word, known)}"


Lookup = Callable[[legal.Loc], tuple[legal.Schema, legal.Loc, str]]
"""For a place: the schema that describes it, the place inside that schema, and whose settings these are."""


def within(model: type[BaseModel]) -> Lookup:
    """The look-up for a model that needs no more than its own schema."""
    return lambda loc: (legal.schema_of(model), loc, "")


def of_validation(error: ValidationError, lookup: Lookup, given: Any) -> list[Problem]:
    """The problems that pydantic found, in plain words; ``where`` counts from the top of ``given``.

    Args:
        error: what validating ``given`` raised. lookup: says what is legal at a place.
    """
    found: dict[tuple[Where, str], list[str]] = {}
    for details in error.errors(include_url=False):
        problem = _translate(details, lookup, given)
        head, mark, what = problem.text.partition(_ILLEGAL)
        found.setdefault((problem.where, head + mark), []).append(what)
    # the branches of a union are one problem, whose legal values are those of all branches
    return [
        Problem(where, head + " or ".join(filter(None, dict.fromkeys(whats))))
        for (where, head), whats in found.items()
    ]


def of_input(error: InputError) -> Problem:
    """The problem that the engine found; ``where`` counts from the top of the trial."""
    where = tuple(int(part) if part.isdigit() else part for part in error.name.split("."))
    return Problem(where, f"{error.value}{_ILLEGAL}{error.legal}")


def _translate(details: ErrorDetails, lookup: Lookup, given: Any) -> Problem:
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return of_input(cause)
    loc, value, kind = details["loc"], details["input"], details["type"]
    where = _written(loc, given, keep_last=kind in ("missing", "extra_forbidden"))
    if kind == "value_error":
        message = details["msg"].removeprefix("Value error, ")
        return Problem(where, illegal(value, message))
    if kind == "extra_forbidden":
        schema, inner, of = lookup(loc[:-1])
        return Problem(where, unknown(str(loc[-1]), legal.keys(schema, inner), of))
    schema, inner, _ = lookup(loc)
    what = legal.describe(legal.at(schema, inner), schema, value) or details["msg"]
    return Problem(where, f"is missing: {what}" if kind == "missing" else illegal(value, what))


def _written(loc: legal.Loc, given: Any, keep_last: bool) -> Where:
    """The place as the user wrote it: without the steps that pydantic adds (union branches, a scalar
    that stands for a mapping)."""
    where: list[str | int] = []
    for i, part in enumerate(loc):
        inside = isinstance(given, Mapping) and part in given
        inside = inside or (isinstance(given, (list, tuple)) and isinstance(part, int) and part < len(given))
        if inside:
            given = given[part]
        elif not (keep_last and i == len(loc) - 1):
            continue
        where.append(part)
    return tuple(where)
