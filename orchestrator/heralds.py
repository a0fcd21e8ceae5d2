"""Who is told how a run goes, besides the terminal: the events of ``--json``, notifications."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from orchestrator.dispatch.observer import Observer
from orchestrator.dispatch.progress import Progress
from orchestrator.planning.job import Job, Outcome

if TYPE_CHECKING:
    from orchestrator.options import Ended


class Herald(Observer, Protocol):
    """An observer of jobs that hears of the whole run too."""

    def begun(self, sweep: str, counts: Mapping[str, int], evaluations: Mapping[str, int]) -> None:
        """The run begins, with the counts of its plan."""

    def again(self, job: Job, outcome: Outcome) -> None:
        """A job failed, and waits to be started once more."""

    def progress(self, progress: Progress) -> None:
        """Called about once a second; must not wait for anything."""

    def warning(self, message: str) -> None:
        """Something that the user should know."""

    def ended(self, ended: Ended) -> None:
        """The run ended in its own way."""

    def died(self, error: BaseException) -> None:
        """The run ended by an exception."""


class Told:
    """Where a run leaves how it ended, for :func:`heralded`."""

    ended: Ended


@contextmanager
def heralded(
    heralds: Sequence[Herald], sweep: str, counts: Mapping[str, int], evaluations: Mapping[str, int]
) -> Iterator[Told]:
    """Tell all heralds that a run begins and how it ends; warnings that are logged reach those that log."""
    logger, told = logging.getLogger("perturb"), Told()
    handlers = [one for one in heralds if isinstance(one, logging.Handler)]
    for handler in handlers:
        logger.addHandler(handler)
    for herald in heralds:
        herald.begun(sweep, counts, evaluations)
    try:
        yield told
    except BaseException as error:
        for herald in heralds:
            herald.died(error)
        raise
    else:
        for herald in heralds:
            herald.ended(told.ended)
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
