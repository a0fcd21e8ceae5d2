"""A short pilot: some steps of one trial of each kind, timed in this process; no row comes of it."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable

from engine.config import Trial
from engine.data import store as data_store
from engine.files import data_root
from engine.report import Event, Signal
from orchestrator.planning.cost import Costs
from orchestrator.planning.job import Job
from orchestrator.planning.plan import Plan
from orchestrator.planning.timing import Pilot, device_kind, keep_pilot
from orchestrator.planning.workload import Work, work_of
from orchestrator.records.ledger import Ledger
from orchestrator.records.provenance import device_name, now
from orchestrator.sweepfile.sweep import Sweep

SECONDS = 45.0
"""For all pilots of a plan together, the loading of data left out."""

LEAST, MOST = 3, 40
"""Steps of a pilot."""

EVALUATED = 1 / 3
"""Of a pass forwards and backwards, what evaluating one batch takes, where no epoch ended in the pilot."""


def pilot(sweep: Sweep, planned: Plan, ledger: Ledger, say: Callable[[str], None]) -> list[Pilot]:
    """Measure every kind of trial that is to do and of which nothing is known, and keep it in the store.

    Args:
        sweep, planned: what is to do. ledger: of the store. say: told of each in one line.
    """
    costs = Costs(sweep, planned, ledger)
    kinds: dict[str, list[Job]] = {}
    for job in (*planned.todo, *costs.searched(planned)):
        if not costs.timings.known(costs.work(job)):
            kinds.setdefault(costs.work(job).kind, []).append(job)
    found = []
    for jobs in kinds.values():
        middle = sorted(jobs, key=lambda job: costs.work(job).passes)[len(jobs) // 2]
        trial = Trial.model_validate(middle.trial)
        lacking = data_store.missing(trial.data, data_root())
        if lacking:
            say(f"no pilot of {_words(trial)}: {'; '.join(lacking)} is not on this machine")
            continue
        if costs.gpu and device_name(True).startswith("cpu"):
            say(f"no pilot of {_words(trial)}: this process sees no GPU")
            continue
        one = measure(trial, costs.gpu, SECONDS / len(kinds), int(sweep.resources.cpus) or 1)
        keep_pilot(ledger.store, _name(one), one)
        found.append(one)
        made = f"{one.steps} steps of {costs.work(middle).passes} passes, {1000 * one.unit:.3g} ms a pass"
        say(f"pilot of {_words(trial)} on {one.device}: {made}")
    return found


def measure(trial: Trial, gpu: bool, seconds: float, threads: int = 1) -> Pilot:
    """Train some steps of a trial and time them; nothing is kept of it.

    Args:
        trial: one of the kind; the trial that it starts from is left out. gpu: whether to use one.
        seconds: after which it ends, at least :data:`LEAST` steps made. threads: of the CPU.
    """
    import torch

    from engine.distributed import Workers, default_device
    from engine.train import train

    clock = _Clock(seconds, torch.cuda.synchronize if gpu else lambda: None)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        workers = Workers(device=default_device()) if gpu else Workers()
        train(trial.model_copy(update={"init": None, "patience": 0}), clock, workers=workers)
    finally:
        torch.set_num_threads(before)
    return clock.pilot(trial, work_of(trial), device_kind(device_name(gpu)))


class _Clock:
    """A report that notes when steps end, and stops the trial when there are enough."""

    def __init__(self, seconds: float, wait: Callable[[], None]) -> None:
        self.seconds, self.wait = seconds, wait
        self.began = time.perf_counter()
        self.first = 0.0
        self.last = self.began
        self.steps: list[float] = []
        self.evaluations: list[float] = []

    def __call__(self, event: Event) -> Signal:
        self.wait()
        now_ = time.perf_counter()
        took, self.last = now_ - self.last, now_
        if not self.first:  # warms up, and has loaded the data and built the model before
            self.first = took
        else:
            (self.evaluations if event.metrics else self.steps).append(took)
        late = now_ - self.began - self.first > self.seconds
        return "stop" if len(self.steps) >= (LEAST if late else MOST) else "continue"

    def pilot(self, trial: Trial, work: Work, device: str) -> Pilot:
        """What was measured, as seconds of a pass, of an epoch's evaluation and before the first step."""
        steps = sorted(self.steps) or [self.first]
        step = steps[len(steps) // 2]
        unit = step / work.passes
        sizes = trial.data.info().sizes
        val, test = (sizes.get(split, 0) / trial.batch_size for split in ("val", "test"))
        epoch = EVALUATED * unit * val
        if self.evaluations:
            epoch = sum(self.evaluations) / len(self.evaluations)
        fixed = max(0.0, self.first - step) + epoch * (
            2 * test / val if val else 0.0
        )  # test at best and last
        return Pilot(work.kind, device, unit, epoch, fixed, len(self.steps), socket.gethostname(), now())


def _name(pilot: Pilot) -> str:
    return hashlib.sha256(f"{pilot.kind} {pilot.device}".encode()).hexdigest()[:24]


def _words(trial: Trial) -> str:
    return f"{trial.model['name']} on {trial.data.name}, batches of {trial.batch_size}"
