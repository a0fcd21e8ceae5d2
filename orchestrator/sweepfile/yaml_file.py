"""YAML 1.2 files: plain values, and the line that each value stands on.

``1e-3`` is a number and ``no`` is a word (YAML 1.1 reads them as a text and as false); a key that stands
twice, a tag outside the core schema and aliases that blow a small file up are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Where = tuple[str | int, ...]
"""Keys and list positions from the top of a file to one of its values."""

MAX_VALUES = 200_000
"""Values of a file with its aliases written out; a table of a thousand named points has about 10 thousand."""

MAX_DEPTH = 50

_TAG = "tag:yaml.org,2002:"
_CORE = {_TAG + name for name in ("map", "seq", "str", "int", "float", "bool", "null", "merge")}


class YamlError(ValueError):
    """A file that is no YAML 1.2, in one line: ``sweep.yaml:3: what is wrong``."""


@dataclass(frozen=True)
class Document:
    """One YAML file, read.

    Attributes:
        name: the file's name, for messages.
        text: its text.
        content: its values, as plain dicts, lists and scalars.
        lines: line of each value, counted from 1.
    """

    name: str
    text: str
    content: Any
    lines: Mapping[Where, int]

    def line(self, where: Where) -> int:
        """The line of a value, or of the nearest enclosing one that stands in the file.

        >>> read_text("a:\\n  b: [1,\\n    2]").line(("a", "b", 1))
        3
        """
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)


def read(path: Path) -> Document:
    """Read a file.

    Raises:
        YamlError: there is no such file, or it is not YAML 1.2 in UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise YamlError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise YamlError(f"{path}: is not text in UTF-8 (byte {error.start})") from error
    return read_text(text, path.name)


def read_text(text: str, name: str = "text") -> Document:
    """Read YAML from a text; ``name`` stands in messages.

    >>> read_text("lr: 1e-3\\nanswer: no").content
    {'lr': 0.001, 'answer': 'no'}

    Raises:
        YamlError: the text is not YAML 1.2, or more than :data:`MAX_VALUES` or :data:`MAX_DEPTH` allow.
    """
    directive = re.search(r"^%YAML\s+(?!1\.2\s*$).*$", text, re.MULTILINE)
    if directive:
        raise YamlError(f"{name}:{_line_at(text, directive)}: {directive.group()} is not legal: %YAML 1.2")
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
        if node is None:
            return Document(name, text, None, {})
        lines: dict[Where, int] = {}
        _check(node, (), lines, name)
        return Document(name, text, yaml.constructor.construct_document(node), lines)
    except YamlError:
        raise
    except RecursionError as error:
        raise YamlError(f"{name}: nested more than {MAX_DEPTH} levels deep") from error
    except YAMLError as error:
        raise YamlError(f"{name}:{_line_of(error)}: {_reason(error)}") from error
    except ValueError as error:  # a tag that its value does not fit: !!int x
        raise YamlError(f"{name}: {error}") from error


def scalar(text: str) -> Any:
    """The value that a text stands for, by the rules of the files.

    >>> scalar("1e-3"), scalar("no"), scalar("[0, 0.5]")
    (0.001, 'no', [0, 0.5])

    Raises:
        YamlError: the text is not YAML.
    """
    return read_text(text, "value").content


def assignment(text: str) -> tuple[str, Any]:
    """The dotted name and the value of ``a.b=3``; the first ``=`` divides them.

    >>> assignment("trial.optimizer.lr=1e-3")
    ('trial.optimizer.lr', 0.001)

    Raises:
        YamlError: there is no ``=`` with something on both sides, or the value is not YAML.
    """
    name, found, value = text.partition("=")
    if not found or not name.strip() or not value.strip():
        raise YamlError(f"--set {text}: is not legal: name=value, e.g. trial.epochs=1")
    try:
        return name.strip(), scalar(value)
    except YamlError as error:
        raise YamlError(f"--set {text}: the value is not YAML ({error})") from error


def _check(node: Node, where: Where, lines: dict[Where, int], name: str) -> None:
    """Note the lines of a node's values; refuse what is not plain data."""
    line = node.start_mark.line + 1
    lines.setdefault(where, line)
    if len(lines) > MAX_VALUES:
        raise YamlError(f"{name}:{line}: more than {MAX_VALUES} values once its aliases are written out")
    if len(where) > MAX_DEPTH:
        raise YamlError(f"{name}:{line}: nested more than {MAX_DEPTH} levels deep")
    if node.tag == _TAG + "timestamp":
        node.tag = _TAG + "str"  # YAML 1.2 has no dates
    if node.tag not in _CORE:
        tag = str(node.tag).replace(_TAG, "!!")
        raise YamlError(f"{name}:{line}: tag {tag} is not legal: plain values only")
    if isinstance(node, SequenceNode):
        for i, item in enumerate(node.value):
            _check(item, (*where, i), lines, name)
    elif isinstance(node, MappingNode):
        _check_mapping(node, where, lines, name)


def _check_mapping(node: MappingNode, where: Where, lines: dict[Where, int], name: str) -> None:
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode) or key.tag not in (_TAG + "str", _TAG + "merge"):
            shown = key.value if isinstance(key, ScalarNode) else "a list or mapping"
            raise YamlError(f"{name}:{line}: key {shown} is not legal: a word, or a text in quotes")
        if key.value in seen:
            path = ".".join(map(str, (*where, key.value)))
            raise YamlError(f"{name}:{line}: {path}: stands twice, first in line {seen[key.value]}")
        seen[key.value] = line
        lines[*where, key.value] = line
        _check(value, (*where, key.value), lines, name)


def _line_at(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1


def _line_of(error: YAMLError) -> int:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    return mark.line + 1 if mark is not None else 1


def _reason(error: YAMLError) -> str:
    if not isinstance(error, MarkedYAMLError):
        return " ".join(str(error).split())
    return " ".join(" ".join(part for part in (error.context, error.problem) if part).split())
