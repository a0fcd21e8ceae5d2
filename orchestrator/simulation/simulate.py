"""A sweep on simulated slots: planned, claimed, scheduled and recorded as in earnest, in its own store."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from engine.errors import InputError
from orchestrator.dispatch.observer import Observer
from orchestrator.dispatch.progress import Progress
from orchestrator.dispatch.room import Room
from orchestrator.planning.attempts import Attempts
from orchestrator.planning.budget import Budget
from orchestrator.planning.garbage import settled
from orchestrator.planning.job import Surroundings
from orchestrator.planning.plan import Plan, plan
from orchestrator.planning.policy import Policy
from orchestrator.planning.sequential import Sequential, seeds_asked
from orchestrator.planning.shared import Shared
from orchestrator.planning.source import source_of
from orchestrator.planning.spending import meter_of
from orchestrator.records.claims import Claims
from orchestrator.records.compaction import tidy
from orchestrator.records.lease import Lease
from orchestrator.records.ledger import Ledger
from orchestrator.records.metrics import label_of
from orchestrator.records.store import Store
from orchestrator.simulation.clock import Clock
from orchestrator.simulation.curves import Curves, Rates, Synthetic
from orchestrator.simulation.recorded import Recorded
from orchestrator.simulation.result import Simulated, least
from orchestrator.sweepfile.samplers import MEMORY
from orchestrator.sweepfile.sweep import Sweep


def simulate(
    sweep: Sweep,
    slots: int,
    curves: Curves | None = None,
    speed: float = 0.0,
    observers: Sequence[Observer] = (),
    folder: str | Path | None = None,
) -> Simulated:
    """Run a sweep's trials on simulated slots: nothing is trained, no store is written but a temporary one.

    Seeds, searcher, scheduler, budget and policies are the sweep's own. Its evaluations are left out.

    Args:
        sweep: from :func:`orchestrator.sweepfile.sweep.load`. slots: trials that run at once.
        curves: what trials report, and when; made up with 30 minutes a trial by default.
        speed: virtual seconds that a real second of the driver's work takes: at 1 events wait for the driver
            as they would in earnest, at 1,000 as if everything else went a thousand times faster. At 0 the
            driver takes no time, and equal calls give equal results.
        observers: told what happens. folder: of the store, empty before; None for one that is removed.

    Raises:
        SweepError: a point of the sweep is not legal.
        InputError: the sweep is judged by an evaluation or is a population, or there is no slot.
    """
    if slots < 1:
        raise InputError("slots", slots, "a whole number >= 1")
    sweep = _alone(sweep)
    names = [*{metric.name for metric in sweep.goals} | ({sweep.watched} if sweep.watched else set())]
    curves = curves or Synthetic(names=sorted(names))
    if folder is not None:
        return _Simulation(sweep, slots, curves, Clock(speed), Store(folder)).run(observers)
    with tempfile.TemporaryDirectory(prefix="perturb-simulation-") as temporary:
        return _Simulation(sweep, slots, curves, Clock(speed), Store(temporary)).run(observers)


def curves_of(
    sweep: Sweep,
    minutes: float = 30.0,
    spread: float = 0.0,
    rates: Rates | None = None,
    like: str | None = None,
) -> Curves:
    """The curves of a simulation: those of a store's trials where it has them, else made-up ones.

    Args:
        sweep: whose metrics are made up. minutes: of a made-up trial. spread: their relative deviation.
        rates: of made-up attempts that end badly. like: the store whose trials are replayed; None for none.

    Raises:
        InputError: a number is out of its range, or the store holds no trial that came to its end.
    """
    rates = rates or Rates()
    if not minutes > 0:
        raise InputError("minutes", minutes, "a number > 0")
    if not 0 <= spread < 1:
        raise InputError("spread", spread, "a number from 0 to below 1")
    for name, rate in vars(rates).items():
        if not 0 <= rate <= 1:
            raise InputError(name, rate, "a probability, 0 to 1")
    if sum(vars(rates).values()) > 1:
        raise InputError("rates", sum(vars(rates).values()), "probabilities of 1 in all at most")
    names = {metric.name for metric in sweep.goals} | ({sweep.watched} if sweep.watched else set())
    made_up = Synthetic(60 * minutes, spread, rates, names=sorted(names))
    if like is None:
        return made_up
    recorded = Recorded(Ledger(Store(like)), made_up)
    if not recorded.found:
        raise InputError("like", like, "a store with trials that came to their end; this one has none")
    return recorded


def _alone(sweep: Sweep) -> Sweep:
    """The sweep without what reaches beyond a simulation: evaluations, the storage of its search."""
    if sweep.population:
        legal = "another one, or none: a curve does not tell how a trial goes on from another's weights"
        raise InputError("scheduler.name", "'pbt'", legal)
    for metric in sweep.goals:
        if label_of(metric.name):
            raise InputError(
                "metric.name", metric.name, "a metric of training: evaluations are not simulated"
            )
    alone = sweep.model_copy()
    alone._asked = ()
    alone._sampling = sweep.sampling.model_copy(update={"storage": MEMORY})
    return alone


class _Simulation:
    """One call of :func:`simulate`."""

    def __init__(self, sweep: Sweep, slots: int, curves: Curves, clock: Clock, store: Store) -> None:
        self.sweep, self.slots, self.curves, self.clock = sweep, slots, curves, clock
        self.store, self.ledger = store, Ledger(store)
        self.real: dict[str, float] = {}

    def run(self, observers: Sequence[Observer]) -> Simulated:
        began = time.perf_counter()
        planned = plan(self.sweep, self.ledger)
        self.real["plan"] = time.perf_counter() - began
        with Lease(self.store, self.sweep.name) as lease:
            return self._run(planned, lease, observers)

    def _run(self, planned: Plan, lease: Lease, observers: Sequence[Observer]) -> Simulated:
        from orchestrator.dispatch.simulate import run_simulated

        sweep, clock = self.sweep, self.clock
        claims, source = Claims(lease), source_of(sweep, planned, self.ledger)
        seeds = seeds_asked(sweep, planned.grid.points, [])
        progress = Progress(sweep.name, planned.counts(), sweep.metric, seeds=seeds)
        progress.recall(planned.jobs, [])
        if isinstance(source, Sequential):
            source.grown = lambda count: progress.grown(count, source.wanted)
        shared = Shared(source, claims, self.ledger, lambda job: False, rule=sweep.rule)
        trials = None if sweep.search else sweep.budget.trials
        meter = meter_of(sweep, planned, self.ledger)
        budget = Budget(shared, trials, sweep.budget.hours, meter, clock)
        attempts = Attempts(budget, Policy(sweep.failures))
        epochs = max((job.trial["epochs"] for job in planned.jobs), default=1)
        room = Room(sweep.resources, attempts, sweep.resources.cpus)
        rule = sweep.scheduler, sweep.better, epochs
        told = [progress, *observers]
        with settled():
            clock.begin()
            found = run_simulated(attempts, self._around(), room, told, rule, self.curves, self.slots, clock)
        claims.close()
        self.real["run"] = clock.driver
        began = time.perf_counter()
        tidy(self.ledger)
        self.real["compact"] = time.perf_counter() - began
        after = plan(sweep, self.ledger)
        statuses = dict.fromkeys(("completed", "diverged", "pruned", "failed"), 0)
        for status in after.status.values():
            statuses[status] += 1
        best = progress.top(1)
        return Simulated(
            sweep=sweep.name,
            slots=self.slots,
            trials=after.counts()["trials"],
            statuses={**statuses, "waiting": max(0, after.counts()["trials"] - sum(statuses.values()))},
            failures=dict(progress.failures),
            attempts=sum(found.origins.values()),
            seconds=clock(),
            minimum=least(found.stints, self.slots),
            busy=sum(found.stints),
            metric=sweep.metric.name,
            best={k: best[0][k] for k in ("labels", "mean", "seeds", "planned")} if best else None,
            curves=dict(found.origins),
            stopped=attempts.stopped,
            note=attempts.note,
            driver=self.real,
            workers=clock.workers,
            memory=_peak(),
        )

    def _around(self) -> Surroundings:
        sweep = self.sweep
        return Surroundings(
            store=self.store.location,
            sweep=sweep.name,
            cpus=sweep.resources.cpus,
            workers=sweep.resources.workers,
            minutes=sweep.failures.minutes or 0.0,
            rule=sweep.rule,
            watched=sweep.watched,
            pauses=sweep.scheduler.pauses if sweep.scheduler else False,
        )


def _peak() -> int:
    """Most bytes that this process has held at once.

    Linux's ``getrusage`` counts what the process that started this one held, too; its ``VmHWM`` does not.
    """
    with suppress(OSError), open("/proc/self/status") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else 1024 * found
