"""Why an actor is gone, as Ray's own table of actors tells it: its process died, its node, or its memory."""

from __future__ import annotations

import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.records.failures import FailureClass

NOTICE_SECONDS = 30.0
"""Callers of an actor hear that it is gone before Ray's table does: a lost node first misses heartbeats."""


@dataclass(frozen=True)
class Death:
    """How an actor ended.

    Attributes:
        failure: ``lost``, or ``out of memory`` where Ray ended it to save its node.
        free: its node went away, or it was preempted: nothing that the trial did.
        node: id of the node that it was on; empty where it never was on one.
    """

    failure: FailureClass = "lost"
    free: bool = False
    node: str = ""


class GangLost(RuntimeError):
    """A rank died; the trial can go on from its checkpoint with a new gang."""

    def __init__(self, message: str, death: Death) -> None:
        super().__init__(message, death)
        self.death = death

    def __str__(self) -> str:
        return str(self.args[0])


def death_of(actor: Any, error: BaseException | None = None) -> Death:
    """How an actor ended.

    Ray's public interface tells it only through a dashboard, which a local Ray here does not start; the
    driver's own table (``ray._private.state``) needs none.

    Args:
        actor: its handle; None where the trial never had one. error: what a call of it raised.
    """
    from ray._private import state

    preempted = bool(getattr(error, "preempted", False))
    known = state.actors(actor._ray_actor_id.hex()) if actor is not None else {}
    ends = time.monotonic() + NOTICE_SECONDS
    while known and known["State"] != "DEAD" and time.monotonic() < ends:
        time.sleep(0.1)
        known = state.actors(actor._ray_actor_id.hex())
    if not known:
        return Death(free=preempted)
    cause, node = known.get("DeathCause"), known["Address"]["NodeID"]
    reason = str(cause or "")
    if "oom_context" in reason:
        return Death("out of memory", node=node)
    return Death("lost", preempted or "node_death_info" in reason or "NODE_DIED" in reason, node)


def error_of(trial: Any) -> BaseException | None:
    """What Tune heard of a trial that failed; None where there is nothing.

    Tune's ``Trial.get_pickled_error`` looks in the experiment's storage, where it puts the file later.
    """
    path = trial.pickled_error_file
    if path is None or not Path(path).is_file():
        return None
    found: BaseException = pickle.loads(Path(path).read_bytes())
    return found
