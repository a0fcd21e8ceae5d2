"""A job whose store is full, read-only or away for a while: it goes on from its checkpoint when it is back.

The engine writes checkpoints into the store. An outage is no fault of the trial and none of its node, so it
costs what was computed since the last checkpoint and no attempt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from engine.errors import first_line
from orchestrator.dispatch.raised import cause_of
from orchestrator.records import patience
from orchestrator.records.store import Store

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before the job is tried again."""

T = TypeVar("T")


def through_outages(store: Store, act: Callable[[], T]) -> T:
    """Do a job, over again as often as the store failed it.

    Args:
        store: that it writes its checkpoints to. act: the job, which goes on where its checkpoint is.

    Raises:
        OSError: of something else, or the store has been waited for as long as a row waits.
    """
    waited, pause = 0.0, FIRST_PAUSE
    while True:
        try:
            return act()
        except OSError as error:
            if not failed_by(store, error) or waited >= patience.PATIENCE_SECONDS:
                raise
            text = "the store failed the trial, which goes on from its checkpoint in %g s: %s"
            logging.getLogger("perturb.trial").warning(text, pause, first_line(cause_of(error)))
        time.sleep(pause)
        waited, pause = waited + pause, min(2 * pause, LONGEST_PAUSE)


def failed_by(store: Store, error: OSError) -> bool:
    """Whether an error is of a file in a store; raised by a rank of a gang, it is inside Ray's."""
    named = getattr(cause_of(error), "filename", None)
    return named is not None and str(named).startswith(f"{store.root}/")
