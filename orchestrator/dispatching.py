"""One run's dispatch: Ray started, trials run on it or in this process, the requests to stop heard."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from orchestrator.dispatch.drain import draining
from orchestrator.dispatch.live import line, live
from orchestrator.dispatch.local import begin_ray, start_ray
from orchestrator.dispatch.observer import Observer
from orchestrator.dispatch.progress import Progress
from orchestrator.dispatch.pulse import Pulse
from orchestrator.dispatch.room import Room
from orchestrator.dispatch.tune import run_here, run_on_ray
from orchestrator.dispatch.watchdog import Watchdog
from orchestrator.onerun import OneRun
from orchestrator.options import Options
from orchestrator.planning import preflight
from orchestrator.planning.attempts import Attempts
from orchestrator.planning.garbage import settled
from orchestrator.planning.job import Job, Surroundings, stop_flag
from orchestrator.records.claims import Claims
from orchestrator.records.lease import Holder
from orchestrator.sweepfile.parts import Resources
from orchestrator.sweepfile.sweep import Sweep


class Dispatch:
    """Runs what a feed brings, once.

    Args:
        of: the run. around: what its jobs share.
        claims: of this driver, given back at the end. progress: counts it. observers: told what happens.
    """

    def __init__(
        self,
        of: OneRun,
        around: Surroundings,
        claims: Claims,
        progress: Progress,
        observers: list[Observer],
    ) -> None:
        self.of, self.around, self.claims = of, around, claims
        self.progress, self.observers = progress, observers
        self.watchdog = Watchdog(of.store, of.sweep.name, around.minutes)

    def run(self, feed: Attempts, jobs: Sequence[Job], held: Mapping[str, int]) -> None:
        """Until nothing is left or running.

        Args:
            feed: where jobs come from. jobs: planned ones. held: memory of earlier ones by kind.
        """
        flag, audience = stop_flag(self.of.sweep.name), self.of.audience

        def drain() -> None:
            """No trial begins, those that run checkpoint and stop; also called by handlers of signals."""
            feed.stop()
            self.watchdog.drain()
            self.progress.state = "draining"
            pulse.ask(flag)

        plain = audience.say if audience.console is not None and not audience.terminal else None
        pulse = Pulse(self.progress, self.of.store, flag, drain, plain, audience.heralds)
        self.of.lease.lost = lambda by: self._taken_over(feed, by)
        with ExitStack() as stack:
            stack.callback(self.claims.close)
            stack.enter_context(settled())
            stack.enter_context(draining(drain))
            if audience.terminal:
                stack.enter_context(live(self.progress, audience.terminal))
            pulse.start()
            stack.callback(pulse.close)
            if self.of.options.local:
                run_here(feed, self.around, self.observers)
            else:
                self._on_ray(feed, jobs, held)
        audience.say(line(self.progress.snapshot()))

    def _on_ray(self, feed: Attempts, jobs: Sequence[Job], held: Mapping[str, int]) -> None:
        epochs = max((job.trial["epochs"] for job in jobs), default=1)
        rule = self.of.sweep.scheduler, self.of.sweep.better, epochs
        room = Room(self.of.sweep.resources, feed, _most_cpus(), held)
        cluster = bool(self.of.options.address)
        run_on_ray(feed, self.around, room, self.watchdog, self.observers, rule, cluster)

    def _taken_over(self, feed: Attempts, by: Holder) -> None:
        logging.getLogger("perturb").warning("the sweep was taken over by %s; this driver ends", by)
        feed.stop(f"taken over by {by}")
        self.progress.state = "draining"
        self.of.store.put(self.of.lease.stop, b"")  # the other driver's trials go on


def connect(sweep: Sweep, options: Options) -> None:
    """Connect to Ray, or start it, and refuse what its nodes could never run."""
    if options.address is None:
        started = begin_ray(options.cpus, _preloads(sweep))
    else:
        packages = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "engine")]
        started = partial(start_ray, options.address, options.cpus, packages)
    import_module("orchestrator.dispatch.searcher")  # and Tune, which takes a second, while Ray starts here
    started()
    preflight.check_resources(sweep.resources, [node["Resources"] for node in _nodes()])


def _preloads(sweep: Sweep) -> bool:
    """Whether most of the workers that wait will get a trial: Ray starts one for each CPU."""
    return not sweep.resources.gpus and sweep.resources.cpus <= 2


def room_without(want: Resources, left_out: set[str]) -> bool:
    """Whether a trial fits on the living nodes of the cluster, those of these ids left out."""
    nodes = [node["Resources"] for node in _nodes() if node["NodeID"] not in left_out]
    return preflight.has_room(want, nodes)


def _most_cpus() -> float:
    return max((node["Resources"].get("CPU", 0.0) for node in _nodes()), default=0.0)


def _nodes() -> list[dict[str, Any]]:
    """Those that live, as Ray tells them; none without Ray."""
    import ray

    if not ray.is_initialized():
        return []
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
