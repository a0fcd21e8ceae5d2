"""Points, cells and trials of a sweep: what the axes expand to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

from engine.config import Trial
from engine.identity import Seeds


@dataclass(frozen=True)
class Point:
    """One place of the grid, as the user wrote it.

    Attributes:
        labels: value of each axis by its dotted name (``method.epsilon``); the name of a named point
            stands under ``point``.
        cell: key of the cell that the place stands for. Several places may share one: all of
            DropAttack's p = 0 row is standard training.
    """

    labels: Mapping[str, Any]
    cell: str


@dataclass(frozen=True)
class Cell:
    """What is trained: one point of the sweep without a seed, or several that are equal by meaning.

    Attributes:
        key: SHA-256 of the canonical trial without its seed.
        trial: the trial with the first seed; others differ in their seed alone.
    """

    key: str
    trial: Trial

    @classmethod
    def of(cls, trial: Trial, population: Mapping[str, str] | None = None) -> Cell:
        """The cell of a trial, or of a member of a population."""
        seeds = Seeds(trial, population)
        found = cls(seeds.cell, trial)
        found.__dict__["seeds"] = seeds  # made already
        return found

    @cached_property
    def seeds(self) -> Seeds:
        """What its trials are called."""
        return Seeds(self.trial)

    def run(self, seed: int) -> Trial:
        """The trial of this cell with another seed."""
        return self.trial.model_copy(update={"seed": seed})


@dataclass(frozen=True)
class Grid:
    """All points of a sweep and the distinct cells behind them, in the order of the file."""

    points: tuple[Point, ...]
    cells: Mapping[str, Cell]


class CellSeeds(Sequence[int]):
    """All seeds of a sweep, where cells have their own of them.

    Args:
        seeds: all. by_cell: those of each cell, which grow as the sweep asks for more.

    >>> seeds = CellSeeds((0, 1, 2), {"a": {0, 1}})
    >>> list(seeds), [len(seeds_of(some, "a")) for some in (seeds, (0, 1, 2))]
    ([0, 1, 2], [2, 3])
    """

    def __init__(self, seeds: Sequence[int], by_cell: dict[str, set[int]]) -> None:
        self.seeds, self.by_cell = tuple(seeds), by_cell

    def __len__(self) -> int:
        return len(self.seeds)

    @overload
    def __getitem__(self, i: int) -> int: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[int]: ...
    def __getitem__(self, i: int | slice) -> int | Sequence[int]:
        return self.seeds[i]


def seeds_of(seeds: Sequence[int], cell: str) -> Collection[int]:
    """The distinct seeds that a cell shall have."""
    own = seeds.by_cell.get(cell, ()) if isinstance(seeds, CellSeeds) else seeds
    return set(own)
