"""How long jobs take on a cluster, in the order in which a run would give them."""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.planning.feed import Queue
from orchestrator.planning.job import Job, Outcome
from orchestrator.sweepfile.parts import Resources


@dataclass(frozen=True)
class Cluster:
    """Nodes, each with its CPUs and GPUs."""

    nodes: tuple[tuple[float, float], ...]

    @property
    def text(self) -> str:
        """In words.

        >>> Cluster(((8, 2), (8, 2))).text
        '2 nodes, 16 CPUs, 4 GPUs'
        """
        cpus, gpus = (sum(node[i] for node in self.nodes) for i in (0, 1))
        nodes = f"{len(self.nodes)} node{'s' * (len(self.nodes) != 1)}"
        return f"{nodes}, {cpus:g} CPUs" + (f", {gpus:g} GPUs" if gpus else "")

    def slots(self, want: Resources) -> int:
        """Trials that run at once, each of whose workers fits on one node; ``auto`` counts as a whole GPU.

        >>> Cluster(((8, 2),)).slots(Resources(cpus=1, gpus=0.5)), Cluster(((8, 0),)).slots(Resources(gpus=1))
        (4, 0)
        """
        workers = 0.0
        for cpus, gpus in self.nodes:
            fits = [cpus / want.cpus] + ([_share(gpus, want.most_gpus)] if want.gpus else [])
            workers += math.floor(min(fits) + 1e-9)
        return int(workers) // want.workers


def this_machine(cpus: int | None = None, gpus: int | None = None) -> Cluster:
    """One node, as Ray would find it here; given numbers in place of what is found."""
    affinity = getattr(os, "sched_getaffinity", None)
    found = len(affinity(0)) if affinity else os.cpu_count() or 1
    return Cluster(((cpus if cpus is not None else found, gpus if gpus is not None else _gpus()),))


def makespan(jobs: Sequence[Job], done: Iterable[str], seconds: Mapping[str, float], slots: int) -> float:
    """Seconds until all jobs have ended, on slots that take each the next job that is ready.

    Args:
        jobs: in their order. done: trials whose weights are there. seconds: of each job, by key.
    """
    queue, time = Queue(jobs, done), 0.0
    running: list[tuple[float, int, Job]] = []
    number = 0
    while True:
        while len(running) < slots and (job := queue.next()) is not None:
            number += 1
            heapq.heappush(running, (time + seconds[job.key], number, job))
        if not running:
            return time
        time, _, ended = heapq.heappop(running)
        queue.done(ended, Outcome(ended.key, "completed"))


def _share(gpus: float, want: float) -> float:
    """Workers that share some GPUs: a fraction does not reach over two of them."""
    return gpus * math.floor(1 / want + 1e-9) if want < 1 else gpus / want


def _gpus() -> int:
    """GPUs that the driver shows, without starting it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([one for one in visible.split(",") if one.strip() not in ("", "-1")])
    folder = Path("/proc/driver/nvidia/gpus")
    return len(list(folder.iterdir())) if folder.is_dir() else 0
