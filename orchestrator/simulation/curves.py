"""Learning curves that a simulation replays: what each attempt at a job reports, when, and how it ends."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from orchestrator.planning.job import Job
from orchestrator.records.failures import FailureClass
from orchestrator.records.metrics import TRIAL_METRICS, lower_is_better

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Curve:
    """One attempt at a job.

    Attributes:
        epochs: metrics of each epoch that ends. seconds: that each takes.
        before, after: seconds before the first epoch and after the last.
        status: how it ends after these epochs. failure: class of a failure; ``lost`` is a process that dies.
        free: lost through no fault of its own. message: of a failure, or of what diverged.
        best, last: final metrics. best_epoch: the chosen epoch, from 1.
        origin: where it comes from: a row of the same key, of the same cell, or made up.
    """

    epochs: Sequence[Metrics]
    seconds: Sequence[float]
    before: float = 0.0
    after: float = 0.0
    status: Literal["completed", "diverged", "failed"] = "completed"
    failure: FailureClass | None = None
    free: bool = False
    message: str = ""
    best: Metrics = field(default_factory=dict)
    last: Metrics = field(default_factory=dict)
    best_epoch: int = 0
    origin: Literal["key", "cell", "made up"] = "made up"


class Curves(Protocol):
    """Where curves come from."""

    def of(self, job: Job) -> Curve:
        """Of the attempt that a job says it is; the same curve whenever it is asked."""
        ...


@dataclass(frozen=True)
class Rates:
    """How often attempts end badly: probabilities of each attempt, 0 to 1 in all.

    Attributes:
        lost: its process dies. preempted: its node goes away. diverged: the loss is no number any more.
        errors: the code raises; each such error is one of its own.
    """

    lost: float = 0.0
    preempted: float = 0.0
    diverged: float = 0.0
    errors: float = 0.0


@dataclass(frozen=True)
class Synthetic:
    """Made-up curves: a power law of the epoch with noise.

        accuracy(e) = a - (a - 0.1) e^(-c) + n(e),   loss(e) = 1.05 - accuracy(e)

    where a in [0.5, 0.95] and c in [0.3, 1.2] are drawn for the cell, and the noise n, normal with deviation
    ``noise``, for the key: seeds of a cell differ by noise alone. Equal jobs give equal curves everywhere.

    Args:
        seconds: that a trial takes. spread: relative deviation of it, over the trials.
        rates: of bad ends. noise: deviation of an epoch's accuracy. names: metrics wanted besides the usual.
        seed: of all draws.

    >>> curve = Synthetic(seconds=100).of(Job("k", "c", 0, {"epochs": 4}))
    >>> len(curve.epochs), sum(curve.seconds), curve.status
    (4, 100.0, 'completed')
    """

    seconds: float = 1800.0
    spread: float = 0.0
    rates: Rates = Rates()
    noise: float = 0.005
    names: Sequence[str] = ()
    seed: int = 0

    def of(self, job: Job) -> Curve:
        """The curve of a job's attempt."""
        shape = random.Random(f"{self.seed} {job.cell}")
        level, slope = shape.uniform(0.5, 0.95), shape.uniform(0.3, 1.2)
        draws, count = random.Random(f"{self.seed} {job.key}"), int(job.trial["epochs"])
        total = self.seconds * max(0.05, 1 + self.spread * draws.gauss(0, 1))
        epochs = [
            self._metrics(level - (level - 0.1) * epoch**-slope + draws.gauss(0, self.noise))
            for epoch in range(1, count + 1)
        ]
        seconds = [total / count] * count
        bad = self._bad(job, epochs, seconds)
        if bad is not None:
            return bad
        best = max(range(count), key=lambda epoch: epochs[epoch]["val.accuracy"])
        return Curve(epochs, seconds, best=epochs[best], last=epochs[-1], best_epoch=best + 1)

    def _metrics(self, accuracy: float) -> dict[str, float]:
        accuracy = min(1.0, max(0.0, accuracy))
        loss = 1.05 - accuracy
        found = {name: loss if lower_is_better(name) else accuracy for name in (*TRIAL_METRICS, *self.names)}
        return {"train.loss": loss, **found}

    def _bad(self, job: Job, epochs: list[dict[str, float]], seconds: list[float]) -> Curve | None:
        """An attempt that ends badly in some epoch, if it does."""
        draws = random.Random(f"{self.seed} {job.key} {job.attempt}")
        drawn, at = draws.random(), draws.randrange(len(epochs))
        for name in ("lost", "preempted", "diverged", "errors"):
            drawn -= getattr(self.rates, name)
            if drawn < 0:
                about = epochs[:at], seconds[:at], 0.0, seconds[at] * draws.random()
                return _ending(name, f"of {job.key[:12]} in epoch {at + 1}", about)
        return None


def _ending(name: str, where: str, about: tuple[list[dict[str, float]], list[float], float, float]) -> Curve:
    if name == "diverged":
        return Curve(*about, status="diverged", message=f"train.loss {where} is nan")
    if name == "errors":
        return Curve(*about, status="failed", failure="error", message=f"simulated error {where}")
    return Curve(*about, status="failed", failure="lost", free=name == "preempted")
