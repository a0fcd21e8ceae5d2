"""Where a member of a population rests, and the checkpoint that others may take over there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.files import RESUME
from engine.report import Event, Report, Signal
from orchestrator.planning.job import Job
from orchestrator.planning.population import MEMBER
from orchestrator.records.store import Store

SETTINGS, CLONE, HEARD = "settings", "clone", "heard"
"""Names in a report and in Tune's config: the settings that a member trains with; whose checkpoint it takes
over next, and the settings that it goes on with; the last round at which its driver has heard it."""

KEPT = 2
"""Checkpoints of a member that others may take over."""


def is_round(epoch: int, job: Job, every: int) -> bool:
    """Whether a member rests after an epoch: after every few, but not after its last."""
    return epoch > 0 and epoch % every == 0 and epoch < int(job.trial["epochs"])


def checkpoints_of(store: Store, key: str) -> list[int]:
    """Epochs at whose end a member left a checkpoint that others may take over, the newest last."""
    names = [name for name in store.names(f"checkpoints/{key}") if name.startswith(MEMBER)]
    return sorted(int(name.removeprefix(MEMBER).removesuffix(".pt")) for name in names)


def name_of(key: str, epoch: int) -> str:
    """The checkpoint that a member left at the end of an epoch."""
    return f"checkpoints/{key}/{MEMBER}{epoch}.pt"


class Rounds:
    """Ends a stretch of training at each round, with a copy of the checkpoint.

    Args:
        job: of the member. store: of its checkpoints. every: epochs between two rounds.
        report: told of all events. saved: told of all files.
    """

    def __init__(
        self, job: Job, store: Store, every: int, report: Report, saved: Callable[[Path], None]
    ) -> None:
        self.job, self.store, self.every = job, store, every
        self.report, self.told = report, saved
        self.due = 0

    def heard(self, event: Event) -> Signal:
        """The report's answer; at a round, to stop."""
        answer = self.report(event)
        if not event.metrics or not is_round(event.epoch, self.job, self.every):
            return answer
        self.due = event.epoch
        return "stop"

    def saved(self, path: Path) -> None:
        """Called by the engine after it wrote a file."""
        self.told(path)
        if path.name != RESUME or not self.due:
            return
        self.store.put(name_of(self.job.key, self.due), path.read_bytes())
        self.due = 0
        for epoch in checkpoints_of(self.store, self.job.key)[:-KEPT]:
            self.store.remove(name_of(self.job.key, epoch))
