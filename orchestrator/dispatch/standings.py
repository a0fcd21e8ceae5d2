"""The best cells so far, kept in order while trials end."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Literal

from orchestrator.planning.cells import seeds_of
from orchestrator.reports.summary import CellSummary

Place = tuple[bool, float, str]
"""What cells are ordered by: whether seeds are missing, then the mean, the best one first, then the key."""


class Standings:
    """Cells by the mean of a metric over their seeds. A trial that ends costs the seeds of its own cell.

    Cells whose planned seeds all have a value come first: a mean over some seeds may leave out the bad ones.

    Args:
        mode: ``max`` or ``min`` is better.
        seeds: planned ones; of a cell of which nothing is planned, those that it has count as all.

    >>> found = Standings("max")
    >>> found.told("a", 0, 0.5), found.told("b", 0, 0.6), found.told("a", 1, 0.9)
    (None, None, None)
    >>> [(one.cell, one.mean, one.n) for one in found.best(1)]
    [('a', 0.7, 2)]
    >>> found = Standings("max", seeds=(0, 1))
    >>> found.told("a", 0, 0.9), found.told("b", 0, 0.5), found.told("b", 1, 0.6)
    (None, None, None)
    >>> [(one.cell, one.n, one.planned) for one in found.best(2)]
    [('b', 2, 2), ('a', 1, 2)]
    """

    def __init__(self, mode: Literal["max", "min"], seeds: Sequence[int] = ()) -> None:
        self.sign = 1.0 if mode == "min" else -1.0
        self.seeds = seeds
        self.values: dict[str, dict[int, float]] = {}
        self.places: dict[str, Place] = {}
        self.order: list[Place] = []

    def told(self, cell: str, seed: int, value: float) -> None:
        """A trial of a cell was measured, for the first time or again; what is no number is passed over."""
        if not math.isfinite(value):
            return
        if cell in self.places:
            del self.order[bisect_left(self.order, self.places[cell])]
        self.values[cell] = {**self.values.get(cell, {}), seed: value}  # views read it in their own threads
        self.places[cell] = self._place(cell)
        insort(self.order, self.places[cell])

    def grown(self) -> None:
        """More seeds are planned: cells that had all of theirs may lack some now."""
        self.places = {cell: self._place(cell) for cell in self.values}
        self.order = sorted(self.places.values())

    def best(self, count: int) -> list[CellSummary]:
        """The best cells, the best one first."""
        found = [(cell, self.values[cell]) for *_, cell in self.order[:count]]
        return [CellSummary(cell, self._planned(cell), seeds) for cell, seeds in found]

    def _planned(self, cell: str) -> int:
        return max(len(seeds_of(self.seeds, cell)), len(self.values[cell]))

    def _place(self, cell: str) -> Place:
        values = self.values[cell].values()
        return len(values) < self._planned(cell), self.sign * math.fsum(values) / len(values), cell
