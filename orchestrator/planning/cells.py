"""Points, cells and trials of a sweep: what the axes expand to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
    def of(cls, trial: Trial) -> Cell:
        """The cell of a trial."""
        seeds = Seeds(trial)
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
