"""How a sweep is run, and how a run of it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Options:
    """How a sweep is run; no result depends on any of it.

    Attributes:
        store: where results live; None takes ``PERTURB_STORE``, else ``perturb-store`` here.
        address: of a running Ray cluster; None starts Ray on this machine.
        local: run in this process, without Ray.
        cpus: of the Ray started here; None is all.
        track: whether MLflow is written; uri: its store, by default inside ours.
        train: False runs only the evaluations of trials that are done.
        retrain: train trials again whose weights an evaluation needs and that kept none.
    """

    store: str | None = None
    address: str | None = None
    local: bool = False
    cpus: int | None = None
    track: bool = True
    uri: str | None = None
    train: bool = True
    retrain: bool = False


@dataclass(frozen=True)
class Ended:
    """How a run of a sweep ended.

    Attributes:
        counts: of its plan, after the run. stopped: why it ended early; empty when it did not.
        report: where its report page is; empty when there is nothing to report.
        failures: number of trials that failed in this run, by class. failed: keys of all failed trials.
        searched: whether it was a search, whose space may hold fewer cells than its budget.
        evaluations: counts of its evaluations, after the run; empty where it asks for none.
        trained: whether trials were run as well as evaluations.
        broken: whether failures ended it early: a mistake in the code, a bad node and no other.
    """

    counts: dict[str, int]
    stopped: str = ""
    report: str = ""
    failures: dict[str, int] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    searched: bool = False
    evaluations: dict[str, int] = field(default_factory=dict)
    trained: bool = True
    broken: bool = False

    @property
    def state(self) -> Literal["done", "failed", "stopped"]:
        """How it ended, in a word."""
        return "stopped" if self.exit_code == 75 else "failed" if self.exit_code else "done"

    @property
    def exit_code(self) -> int:
        """0 done, 1 trials or evaluations failed, could not start or ended it, 75 drained and resumable."""
        trials = self.counts if self.trained else {"todo": 0, "failed": 0}
        asked = self.evaluations or {"todo": 0, "failed": 0, "impossible": 0}
        left, waiting = trials["todo"] > trials["failed"], asked["todo"] > asked["failed"]
        if self.stopped and (left or waiting):
            return 1 if self.broken else 75
        bad = trials["failed"] or asked["failed"] or asked["impossible"] or waiting
        return 1 if bad or (left and not self.searched) else 0
