"""The best cells so far, kept in order while trials end."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from typing import Any, Literal

from orchestrator.reports.summary import CellSummary


class Standings:
    """Cells by the mean of a metric over their seeds. A trial that ends costs the seeds of its own cell.

    Args:
        mode: ``max`` or ``min`` is better.

    >>> found = Standings("max")
    >>> found.told("a", 0, 0.5), found.told("b", 0, 0.6), found.told("a", 1, 0.9)
    (None, None, None)
    >>> [(one.cell, one.mean, one.n) for one in found.best(1)]
    [('a', 0.7, 2)]
    """

    def __init__(self, mode: Literal["max", "min"]) -> None:
        self.sign = 1.0 if mode == "min" else -1.0
        self.values: dict[str, dict[int, float]] = {}
        self.order: list[tuple[float, str]] = []
        self.labels: dict[str, dict[str, Any]] = {}

    def told(self, cell: str, seed: int, value: float) -> None:
        """A trial of a cell was measured, for the first time or again; what is no number is passed over."""
        if not math.isfinite(value):
            return
        seeds = dict(self.values.get(cell, {}))
        if seeds:
            del self.order[bisect_left(self.order, (self._place(seeds), cell))]
        seeds[seed] = value
        self.values[cell] = seeds  # a new one, for the views read it in their own threads
        insort(self.order, (self._place(seeds), cell))

    def best(self, count: int) -> list[CellSummary]:
        """The best cells, the best one first."""
        found = [(cell, self.values[cell]) for _, cell in self.order[:count]]
        return [CellSummary(cell, len(seeds), seeds) for cell, seeds in found]

    def _place(self, seeds: dict[int, float]) -> float:
        return self.sign * math.fsum(seeds.values()) / len(seeds)
