"""What each job takes of the cluster: CPUs, a GPU or a share of one, and which nodes it must not be on.

A share of a GPU follows from measured memory. The first trial of a kind has a GPU of its own and says how
much of it it held; those after it take 1/n, as many as fit::

    n = floor(0.9 capacity / (held + 0.6 GiB))

where 0.6 GiB stand for what CUDA itself keeps for a process and torch does not see. A trial that runs out of
memory nevertheless starts again with twice the share.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.planning.attempts import Attempts
from orchestrator.planning.job import Job, Outcome
from orchestrator.records.row import Row
from orchestrator.sweepfile.parts import Resources

FILL = 0.9
"""Part of a device's memory that trials which share it may hold together."""

OVERHEAD = 600 * 2**20
"""Bytes of a device that a process takes beside what torch holds."""


class Room:
    """Resources by job.

    Args:
        resources: of the sweep. attempts: knows whose share was doubled, and the nodes that are left out.
        most_cpus: of the largest node, on which all workers of a trial have room together.
        held: by earlier trials (:func:`held_of`).
    """

    def __init__(
        self,
        resources: Resources,
        attempts: Attempts,
        most_cpus: float = math.inf,
        held: Mapping[str, int] | None = None,
    ) -> None:
        self.resources, self.attempts = resources, attempts
        self.most_cpus = max(resources.cpus, most_cpus / resources.workers)
        self.held = dict(held or {})
        self.capacity = 0

    def of(self, job: Job) -> dict[str, Any]:
        """``cpus`` and ``gpus`` for each worker, and the nodes to ``avoid``."""
        cpus, gpus = self._shares(job)
        return {"cpus": cpus, "gpus": gpus, "avoid": sorted(self.attempts.policy.excluded)}

    def widest(self, job: Job) -> bool:
        """Whether it has as much of a device as there is."""
        cpus, gpus = self._shares(job)
        return gpus >= 1 if self.resources.gpus else 2 * cpus > self.most_cpus

    def learn(self, job: Job, outcome: Outcome) -> None:
        """What a trial held, and how much its device has."""
        _learn(self.held, job.canonical, outcome.memory)
        if outcome.capacity:
            self.capacity = min(self.capacity or outcome.capacity, outcome.capacity)

    def _shares(self, job: Job) -> tuple[float, float]:
        times, given = 2 ** self.attempts.width[job.key], self.resources.gpus
        if not given:
            return min(self.resources.cpus * times, self.most_cpus), 0.0
        gpus = self._packed(job) if given == "auto" else given
        return self.resources.cpus, gpus if gpus >= 1 else _share(min(1.0, gpus * times))

    def _packed(self, job: Job) -> float:
        held = self.held.get(kind_of(job.canonical), 0)
        if not held or not self.capacity or self.resources.workers > 1:
            return 1.0  # the first of its kind measures; each rank needs a GPU of its own
        return 1 / max(1, int(FILL * self.capacity / (held + OVERHEAD)))


def held_of(rows: Iterable[Row]) -> dict[str, int]:
    """Most bytes of a device that trials of each kind held, from their rows."""
    held: dict[str, int] = {}
    for row in rows:
        _learn(held, row.canonical, row.memory)
    return held


def _learn(held: dict[str, int], canonical: Mapping[str, Any], memory: int) -> None:
    if memory:
        kind = kind_of(canonical)
        held[kind] = max(memory, held.get(kind, 0))


def kind_of(canonical: Mapping[str, Any]) -> str:
    """What trials that take the same memory have in common: all but the seed and numbers with a fraction.

    >>> kind_of({"batch_size": 8, "method": {"epsilon": 0.5}, "seed": 1})
    '{"batch_size": 8, "method": {}}'
    """
    return json.dumps(_whole({k: v for k, v in canonical.items() if k != "seed"}), sort_keys=True)


def _whole(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _whole(v) for k, v in value.items() if not isinstance(v, float)}
    return [_whole(v) for v in value if not isinstance(v, float)] if isinstance(value, list) else value


def _share(gpus: float) -> float:
    """Rounded down to what Ray takes, four digits, so that n shares of 1/n fit on one GPU."""
    return math.floor(gpus * 10_000) / 10_000
