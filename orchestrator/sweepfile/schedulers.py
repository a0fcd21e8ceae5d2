"""The ``scheduler`` block: which trials end before their last epoch, by which rule."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from engine.settings import Count, Frozen, Positive, Probability
from orchestrator.sweepfile.parts import Searched

Factor = Annotated[float, Field(strict=True, gt=1)]
"""A number > 1."""


class _Rule(Frozen):
    """What all rules share: a metric of every epoch by which trials are compared.

    Attributes:
        metric: measured on validation after every epoch; by default the sweep's, where it is such a one.
    """

    pauses: ClassVar[bool] = False
    """Whether trials wait for others, and are checkpointed at every epoch for it."""

    metric: str | None = None

    def together(self, epochs: int) -> int:
        """Trials that are queued at once; 0 leaves it to Tune, which queues as many as can run."""
        return 0

    def digest(self, metric: str, mode: str) -> str:
        """Tells one rule from another: pruned under it is done under it alone."""
        form = {**self.model_dump(mode="json", exclude_defaults=True), "name": self.name, "metric": metric}  # type: ignore[attr-defined]
        text = json.dumps({**form, "mode": mode}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Asha(_Rule):
    """Asynchronous successive halving: at epochs g, g r, g r^2, ... the best 1/r of those that came go on.

    Attributes:
        grace: g, epochs before the first decision. reduction: r.
        brackets: number of brackets, of which bracket s begins at g r^s.
    """

    name: Literal["asha"]
    grace: Count = 1
    reduction: Factor = 3.0
    brackets: Count = 1


class Hyperband(_Rule):
    """Synchronous Hyperband: trials wait for the others of their bracket, then the best 1/r go on.

    Attributes:
        reduction: r.
    """

    pauses: ClassVar[bool] = True

    name: Literal["hyperband"]
    reduction: Factor = 3.0

    def together(self, epochs: int) -> int:
        """The largest bracket, ``r^s`` trials with ``s = round(log_r epochs)``: halved before it is full,
        it would let trials pass that were never compared.
        """
        return max(1, math.ceil(self.reduction ** round(math.log(epochs, self.reduction))))


class Median(_Rule):
    """Ends a trial whose best value is worse than the median of the others' means up to that epoch.

    Attributes:
        grace: epochs before the first decision. samples: other trials that must have come as far.
    """

    name: Literal["median"]
    grace: Count = 1
    samples: Count = 3


class Pbt(_Rule):
    """Population based training (Jaderberg et al., 2017): the worst take over from the best, and vary.

    The trials of the sweep are the population. Every few epochs all wait for each other; then each of the
    worst takes over the checkpoint of one of the best and goes on with its settings, varied.

    Attributes:
        every: epochs between two such rounds.
        mutate: settings that vary, and within which bounds or choices.
        quantile: part of the population that gives, and part that takes over.
        resample: probability that a setting is drawn anew in place of varied.
        factors: a number is multiplied by either of them; a choice moves to its neighbour.
        start: members begin with the settings of their ``trial``, or with a ``sample``, drawn by their seed,
            of each setting that no axis sets.
    """

    name: Literal["pbt"]
    every: Count = 1
    mutate: dict[str, Searched] = Field(min_length=1)
    quantile: Annotated[float, Field(strict=True, gt=0, le=0.5)] = 0.25
    resample: Probability = 0.25
    factors: tuple[Positive, Positive] = (0.8, 1.2)
    start: Literal["trial", "sample"] = "trial"

    def together(self, epochs: int) -> int:
        """All: a round is one of the whole population."""
        return 10_000


Scheduler = Annotated[Asha | Hyperband | Median | Pbt, Field(discriminator="name")]


def named(value: Any) -> Any:
    """A rule's name alone stands for its defaults."""
    return {"name": value} if isinstance(value, str) else value
