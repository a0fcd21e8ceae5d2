"""The points that a search has asked for, written down before any of them runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.errors import InputError
from orchestrator.planning.cells import Cell, Point
from orchestrator.planning.expand import expand_one
from orchestrator.planning.space import in_space
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep


class Asked:
    """Points in the order in which they were asked for; a line of a JSON file each.

    Args:
        sweep: the search. store: where the file is, ``sweeps/NAME/points.json``.

    Raises:
        InputError: the search space was changed so that an earlier point is no longer in it.
    """

    def __init__(self, sweep: Sweep, store: Store) -> None:
        self.sweep, self.store = sweep, store
        self.points, self.cells = recorded(sweep, store)
        self._lines = [_line(point.labels) for point in self.points]

    def add(self, point: Point) -> None:
        """Write one more point down; nothing where it is the last that was.

        Raises:
            OSError: the store is away; the point is not among them.
        """
        line = _line(point.labels)
        if self._lines[-1:] == [line]:
            return
        self._lines.append(line)
        try:
            self.store.put(_file(self.sweep), ("[\n" + ",\n".join(self._lines) + "\n]").encode())
        except OSError:
            del self._lines[-1]
            raise
        self.points.append(point)


def recorded(sweep: Sweep, store: Store) -> tuple[list[Point], list[Cell]]:
    """The points that earlier runs of a search asked for, and their cells.

    Raises:
        InputError: the search space was changed so that an earlier point is no longer in it.
    """
    content = store.get(_file(sweep))
    points, cells = [], {}
    for labels in json.loads(content) if content else []:
        point, cell = sweep.memo.get(line := _line(labels)) or _expanded(sweep, labels)
        sweep.memo[line] = point, cell
        points.append(point)
        cells[cell.key] = cell
    return points, list(cells.values())


def _expanded(sweep: Sweep, labels: Mapping[str, Any]) -> tuple[Point, Cell]:
    if not in_space(labels, sweep.search):
        legal = "a space that holds the points asked for before; give the sweep a new name"
        raise InputError("search", sorted(sweep.search), legal)
    return expand_one(sweep, labels)


def satisfied(wanted: Sequence[Mapping[str, Any]], points: Sequence[Point]) -> list[bool]:
    """Which points to try first were asked for already; one that was asked for stands for one wanted."""
    left = [point.labels for point in points]
    found = []
    for one in wanted:
        match = next((i for i, labels in enumerate(left) if _agrees(one, labels)), None)
        found.append(match is not None)
        if match is not None:
            del left[match]
    return found


def _agrees(wanted: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    return all(name in labels and labels[name] == value for name, value in wanted.items())


def _line(labels: Mapping[str, Any]) -> str:
    return json.dumps(dict(labels))


def _file(sweep: Sweep) -> str:
    return f"sweeps/{sweep.name}/points.json"
