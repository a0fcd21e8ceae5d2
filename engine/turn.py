"""A worker's part of an optimisation step, and the points at which its objective is evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from engine.data.examples import Batch
from engine.objective import Aims


@dataclass(frozen=True)
class Turn:
    """A worker's part of one optimisation step.

    Attributes:
        batch: this worker's examples. aims: their labels, and numbers of the global batch.
        step: number of the step, for the random draws. epoch: epochs trained so far, with its fraction.
        scale: what a summed loss is multiplied by, so that the workers' mean is the global mean.
        places: place of each example among the training examples, int64 (B,), where a method keeps
            something for each of them. micro: examples in one pass at most, 0 for all.
    """

    batch: Batch
    aims: Aims
    step: int
    scale: float
    epoch: float = 0.0
    places: Tensor | None = None
    micro: int = 0

    def parts(self) -> Iterator[tuple[slice, Turn]]:
        """The turn in passes of at most ``micro`` examples, with their rows."""
        size = len(self.batch)
        if not self.micro or size <= self.micro:
            yield slice(0, size), self
            return
        for first in range(0, size, self.micro):
            rows = slice(first, min(first + self.micro, size))
            batch = self.batch.part(rows.start, rows.stop)
            extra = batch.extra if self.aims.pseudo else 0
            aims = replace(self.aims, labels=self.aims.labels[rows], extra=extra)
            places = None if self.places is None else self.places[rows]
            yield rows, replace(self, batch=batch, aims=aims, places=places)


@dataclass(frozen=True)
class Point:
    """Where the objective is evaluated, besides the weights.

    Attributes:
        r: added to the natural input by an ascent. clamp: range of the sum.
        attack: x' - x of the attacked branch; None where there is no attack.
    """

    r: Tensor | None = None
    clamp: tuple[float, float] | None = None
    attack: Tensor | None = None

    def part(self, rows: slice) -> Point:
        """Of some rows."""
        r, attack = (None if t is None else t[rows] for t in (self.r, self.attack))
        return Point(r, self.clamp, attack)
