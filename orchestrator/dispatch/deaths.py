"""Why an actor is gone, as Ray's own table of actors tells it: its process died, its node, or its memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.records.row import FailureClass


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
    if not known:
        return Death(free=preempted)
    cause, node = known.get("DeathCause"), known["Address"]["NodeID"]
    reason = str(cause or "")
    if "oom_context" in reason:
        return Death("out of memory", node=node)
    return Death("lost", preempted or "node_death_info" in reason or "NODE_DIED" in reason, node)
