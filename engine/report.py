"""How a running trial and its surroundings talk: progress out, a signal back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

Signal = Literal["continue", "checkpoint", "stop"]
SIGNALS: tuple[Signal, ...] = ("continue", "checkpoint", "stop")


@dataclass(frozen=True)
class Event:
    """A trial's position, told after every optimisation step and at the end of every epoch.

    Attributes:
        epoch: epochs finished. step: optimisation steps finished in the epoch under way, 0 at its end.
        metrics: of the epoch that has just ended (``split.measure``), empty between.
    """

    epoch: int
    step: int
    metrics: Mapping[str, float] = field(default_factory=dict)


class Report(Protocol):
    """Called by rank 0. ``checkpoint`` asks for a checkpoint at once, ``stop`` for one and then the end.

    It is called once a step, so it must be cheap; with several workers it is asked every
    few steps (:mod:`engine.poll`) and at the end of each epoch, since all of them must agree.
    """

    def __call__(self, event: Event) -> Signal:
        """Take the event, answer with a signal."""
        ...


def carry_on(event: Event) -> Signal:
    """A report that tells nobody and never stops."""
    return "continue"
