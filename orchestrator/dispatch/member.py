"""A member of a population, trained from round to round, where it may take over another's checkpoint."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine import checkpoint
from engine.checkpoint import Progress
from engine.errors import InputError
from engine.files import RESUME
from orchestrator.dispatch.rounds import CLONE, HEARD, checkpoints_of, is_round, name_of
from orchestrator.dispatch.worker import Reporter, Train, run_job
from orchestrator.planning.job import Job, Outcome, Surroundings
from orchestrator.records.store import Store

Tell = Callable[[int, dict[str, float], dict[str, Any]], None]
"""Given an epoch, its metrics, and the settings that it was trained with."""


def train_member(
    job: Job, around: Surroundings, config: dict[str, Any], tell: Tell, train_with: Train
) -> Outcome:
    """Train a member to its end.

    At each round its training has stopped before the epoch is told, so that its checkpoint is there; who is
    told mostly ends this call there, by SystemExit, and makes another one when the round is over.

    Args:
        config: of Tune, with what the round has decided. tell: told of epochs. train_with: how it is trained.
    """
    store, clone = Store(around.store), json.loads(config.get(CLONE, "null"))
    job, at = take_up(job, store, clone)
    settings = job.lineage[-1]["settings"]
    rests = at is not None and not at.step and is_round(at.epoch, job, around.every)
    if at is not None and rests and not clone and at.epoch > config.get(HEARD, 0):  # a new driver or attempt
        tell(at.epoch, _metrics(at), settings)
    while True:
        held: list[tuple[int, dict[str, float]]] = []

        def forward(epoch: int, metrics: dict[str, float], held: Any = held) -> None:
            if is_round(epoch, job, around.every):
                held.append((epoch, metrics))
            else:
                tell(epoch, metrics, settings)

        reporter = Reporter(around, forward)
        outcome = run_job(job, around, reporter, train_with)
        if outcome.status != "stopped" or not held or reporter.stopping:
            return outcome
        tell(*held[-1], settings)


def take_up(job: Job, store: Store, clone: dict[str, Any] | None) -> tuple[Job, Progress | None]:
    """A member's job with its lineage, and where it stands.

    Args:
        clone: whose checkpoint (``from``) of which ``epoch`` it takes over, and the ``settings`` that it goes
            on with; None goes on from its own, if there is one.
    """
    own = f"checkpoints/{job.key}/{RESUME}"
    if clone is not None:
        content = _taken_over(job, store, clone)
        if content is not None:
            store.put(own, content)
    content = store.get(own)
    at = None if content is None else checkpoint.peek(content, job.key)
    lineage = at.lineage if at is not None else [{"epoch": 1, "from": "", "settings": job.settings}]
    return replace(job, lineage=lineage), at


def _taken_over(job: Job, store: Store, clone: dict[str, Any]) -> bytes | None:
    """The donor's checkpoint as the member's own; a newer one where the donor has gone on."""
    donor, asked = clone["from"], clone["epoch"]
    there = checkpoints_of(store, donor)
    for epoch in [epoch for epoch in there if epoch == asked] + there[::-1]:
        content = store.get(name_of(donor, epoch))
        if content is None:
            continue
        try:
            return checkpoint.adopt(content, donor, job.key, clone["settings"])
        except InputError as error:
            logging.getLogger("perturb").warning("%s", error)
    return None


def _metrics(at: Progress) -> dict[str, float]:
    return {name: value for name, value in at.history[-1].items() if name != "epoch"}
