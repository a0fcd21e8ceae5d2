"""A trial, or an evaluation, over several workers: warm Ray actors in its placement group, one a rank.

Traps: an all-zero head bundle is left out of the real placement group, so rank i sits in bundle i; when
a rank dies the others hang in a collective until its time-out, so the first actor error ends the whole
gang and is raised, and Tune starts the trial again from its checkpoint; gloo aborts when a network
outlives its process group, so ``train`` lets go of it before the group is left.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

from engine.config import Trial
from engine.evaluations.base import Findings
from engine.report import Event, Report, Signal, carry_on
from engine.result import Result
from orchestrator.dispatch.deaths import Death, GangLost, death_of
from orchestrator.dispatch.raised import cause_of
from orchestrator.planning.job import Job, Surroundings

POLL_SECONDS = 0.2
"""Time between two exchanges of progress and signal with rank 0."""

REST_SECONDS = 60.0
"""A gang whose trial was ended by a scheduler has so long to checkpoint and to stay warm."""

ANSWER_SECONDS = 10.0
"""A rank that takes longer to answer after a failure counts as dead: a lost node is noticed late."""

COLLECTIVE = ("gloo/", "NCCL error")
"""Words of torch's errors in a collective, which mostly say that another rank is gone."""


class Rank:
    """One worker of a trial, kept with its process group from trial to trial.

    Its methods run in two threads: one trains, the other exchanges events and the signal.
    """

    def __init__(self, rank: int, size: int, around: Surroundings) -> None:
        self.rank, self.size, self.around = rank, size, around
        self.events: list[Event] = []
        self.signal: Signal = "continue"
        self.lock = threading.Lock()
        self.workers: Any = None

    def address(self) -> str:
        """A free port on this node, for the ranks to meet at."""
        import ray

        host = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        with socket.socket() as free:
            free.bind(("", 0))
            return f"tcp://{host}:{free.getsockname()[1]}"

    def join(self, address: str) -> None:
        """Form the process group; it lasts as long as this process."""
        import torch

        from engine.distributed import default_device, group

        device = default_device() if self.around.gpu else torch.device("cpu")
        self.group = group(self.rank, self.size, address, device)
        self.workers = self.group.__enter__()

    def train(self, job: Job) -> Result:
        """This rank's part of a trial."""
        from orchestrator.dispatch.worker import prepare, train_here

        with self.lock:
            self.events, self.signal = [], "continue"
        return train_here(prepare(job, self.around), self._report, job, self.around, self.workers)

    def evaluate(self, job: Job) -> Findings:
        """This rank's part of an evaluation."""
        from orchestrator.dispatch.evaluation import evaluate_here
        from orchestrator.dispatch.worker import prepare

        with self.lock:
            self.events = []
        return evaluate_here(prepare(job, self.around), job, self.around, self.workers)

    def exchange(self, signal: Signal) -> list[Event]:
        """Take the epochs finished since the last call; leave the signal for the next report."""
        with self.lock:
            events, self.events, self.signal = self.events, [], signal
        return events

    def _report(self, event: Event) -> Signal:
        with self.lock:
            if event.metrics:
                self.events.append(event)
                if self.around.pauses and self.signal == "continue":
                    return "checkpoint"
            signal = self.signal
            if signal == "checkpoint":  # once, though the next exchange is many steps away
                self.signal = "continue"
            return signal


_gangs: dict[tuple[str, int], list[Any]] = {}
"""Of this process: the gang that its placement group holds, warm from trial to trial."""


def train_with_gang(trial: Trial, report: Report, job: Job, around: Surroundings) -> Result:
    """Train over ``around.workers`` ranks; called in the trial's own process, which only waits.

    Raises:
        GangLost: a rank died; all others are ended.
    """
    result: Result = _together(around, "train", report, job)
    return result


def evaluate_with_gang(trial: Trial, job: Job, around: Surroundings) -> Findings:
    """Evaluate over ``around.workers`` ranks, as :func:`train_with_gang` trains.

    Raises:
        GangLost: a rank died; all others are ended.
    """
    findings: Findings = _together(around, "evaluate", carry_on, job)
    return findings


def _together(around: Surroundings, act: str, report: Report, job: Job) -> Any:
    """The job on all ranks at once; raises what ended it, which is not always what was heard first."""
    parts: list[Any] = []
    try:
        ranks = _gang(around)
        parts += [getattr(rank, act).remote(job) for rank in ranks]
        return _on_all(ranks, parts, report, around)
    except SystemExit:  # Tune ends the trial, or makes it wait; the gang rests
        raise
    except BaseException as error:
        own = _own_errors(parts, error)
        rank, death = _death(around)
        _end(around)  # the other ranks may hang in a collective
        if death is not None and rank not in own:  # else it died of its error
            raise GangLost("a worker of the trial died", death) from error
        if own:
            raise next(iter(own.values())) from None
        raise


def _on_all(ranks: list[Any], parts: list[Any], report: Report, around: Surroundings) -> Any:
    """What rank 0 makes of the job, when all have done their parts; raises what one of them raises."""
    import ray

    waiting, epoch = list(parts), 0
    try:
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=POLL_SECONDS)
            ray.get(done)
            signal = report(Event(epoch, 0))
            for event in ray.get(ranks[0].exchange.remote(signal)):
                report(event)
                epoch = event.epoch
    except SystemExit:
        _rest(around, parts)
        raise
    return ray.get(parts[0])


def _rest(around: Surroundings, parts: list[Any]) -> None:
    """Ask the gang to stop, so that it is there for the next trial; end it where it does not."""
    import ray

    try:
        ray.get([rank.exchange.remote("stop") for rank in _ranks(around)], timeout=ANSWER_SECONDS)
        ray.get(parts, timeout=REST_SECONDS)
    except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError):
        _end(around)


def _ranks(around: Surroundings) -> list[Any]:
    return [rank for name, gang in _gangs.items() if name[1] == around.workers for rank in gang]


def _gang(around: Surroundings) -> list[Any]:
    """The warm gang of this process, or a new one."""
    import ray
    from ray.util.placement_group import get_current_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = get_current_placement_group()
    assert group is not None
    name = (group.id.hex(), around.workers)
    if name not in _gangs:
        actor: Any = ray.remote(Rank)
        ranks = [
            actor.options(
                num_cpus=around.cpus,
                num_gpus=1 if around.gpu else 0,
                max_concurrency=2,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, i),
            ).remote(i, around.workers, around)
            for i in range(around.workers)
        ]
        _gangs[name] = ranks
        address = ray.get(ranks[0].address.remote())
        ray.get([rank.join.remote(address) for rank in ranks])
    return _gangs[name]


def _own_errors(parts: list[Any], error: BaseException) -> dict[int, BaseException]:
    """What ranks raised of themselves, by rank, where ``error`` is of a rank.

    A collective's complaint is none of a rank's own: another one, to be heard any moment, has left it.
    """
    import ray

    if not isinstance(error, ray.exceptions.RayError) or not parts:
        return {}
    seconds = ANSWER_SECONDS if _complaint(error) else 0
    done, _ = ray.wait(parts, num_returns=len(parts), timeout=seconds)
    own = dict[int, BaseException]()
    for part in done:
        try:
            ray.get(part)
        except (ray.exceptions.RayTaskError, ray.exceptions.UnserializableException) as found:
            if not _complaint(found):
                own[parts.index(part)] = found
        except ray.exceptions.RayError:
            continue
    return own


def _complaint(error: BaseException) -> bool:
    """Whether an error says of a collective that it failed."""
    from torch.distributed import DistError

    cause = cause_of(error)
    words = isinstance(cause, RuntimeError) and any(word in str(cause) for word in COLLECTIVE)
    return words or isinstance(cause, DistError)


def _death(around: Surroundings) -> tuple[int, Death | None]:
    """Which rank died, or does not answer, and how; None where all live.

    The error at hand does not say: when a rank is killed, another one often fails first, with gloo's
    "connection reset by peer".
    """
    import ray

    ranks = _ranks(around)
    answers = [(rank, rank.exchange.remote("continue")) for rank in ranks]
    ray.wait([answer for _, answer in answers], num_returns=len(ranks), timeout=ANSWER_SECONDS)
    for i, (rank, answer) in enumerate(answers):
        try:
            ray.get(answer, timeout=0)
        except ray.exceptions.RayActorError as error:
            return i, death_of(rank, error)
        except ray.exceptions.GetTimeoutError:
            return i, Death()
    return 0, None


def _end(around: Surroundings) -> None:
    import ray

    for name in [name for name in _gangs if name[1] == around.workers]:
        for rank in _gangs.pop(name):
            ray.kill(rank)
