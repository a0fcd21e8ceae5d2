"""Train one trial: the loop over epochs and steps, selection on validation, the final evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from engine import checkpoint, optimizers
from engine.checkpoint import Progress
from engine.config import Keep, Trial
from engine.data.base import DataInfo
from engine.data.examples import Examples
from engine.data.loading import Splits, load
from engine.distributed import Workers
from engine.errors import InputError
from engine.evaluate import Evaluation, evaluate
from engine.identity import trial_key
from engine.models.catalog import config as model_config
from engine.perturb.random import derive, seed_torch
from engine.report import SIGNALS, Event, Report, Signal, carry_on
from engine.step import Stepper

POLL = 16
"""Steps between two agreements of several workers on the report's signal."""


@dataclass(frozen=True)
class Result:
    """What a trial computed.

    Attributes:
        status: ``completed``; ``diverged`` when the training or validation loss became NaN or infinite;
            ``stopped`` when the report asked for it, with a checkpoint to continue from.
        best, last: metrics of the epoch chosen on validation and of the last one, test included.
        best_epoch: the chosen epoch, from 1. history: metrics of every epoch, each with ``epoch``.
        correct: packed per-example correctness of the test split, by checkpoint.
        examples: number of test examples. seconds: by phase. message: what diverged, and when.
    """

    status: Literal["completed", "diverged", "stopped"]
    best: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    correct: dict[str, bytes] = field(default_factory=dict)
    examples: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    message: str = ""


def train(
    trial: Trial,
    report: Report = carry_on,
    folder: Path | None = None,
    *,
    workers: Workers | None = None,
    keep: Keep = "none",
    parent: Path | None = None,
    checkpoint_seconds: float = 60.0,
    saved: Callable[[Path], None] | None = None,
) -> Result:
    """Train a trial, continuing from its checkpoint when the folder holds one.

    Args:
        trial: what to train.
        report: told of progress; answers with a signal.
        folder: where checkpoints are kept; None keeps none, and then the trial cannot be continued.
        workers: who share the trial's batches; None is this process alone.
        keep: which weights stay in the folder when the trial is completed.
        parent: weights to start from, for a trial with ``init``.
        checkpoint_seconds: time between checkpoints, which are written at the ends of epochs.
        saved: told of each file written to the folder.

    Raises:
        DataMissing, InputError: the data are not there or not what was published.
        torch.OutOfMemoryError: the device has no memory left.

    >>> t = Trial.model_validate(dict(data="digits", model="lenet5_8x8", method="standard", epochs=1))
    >>> train(t).status
    'completed'
    """
    workers = workers or Workers()
    devices = [workers.device] if workers.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        run = _Run(trial, report, folder, workers, checkpoint_seconds, saved)
        try:
            run.start(parent)
            return run.finish(run.loop(), keep)
        finally:
            run.close()


class _Run:
    """The state of one call of :func:`train`."""

    def __init__(
        self,
        trial: Trial,
        report: Report,
        folder: Path | None,
        workers: Workers,
        checkpoint_seconds: float,
        saved: Callable[[Path], None] | None,
    ):
        self.trial, self.report, self.folder, self.workers = trial, report, folder, workers
        self.saved = saved or (lambda path: None)
        self.key = trial_key(trial)
        self.progress = Progress()
        self.checkpoint_seconds = checkpoint_seconds
        self.saved_at = time.monotonic()

    def start(self, parent: Path | None) -> None:
        """Load the data, build the model, take up the checkpoint."""
        with self._timed("data"):
            self.data: Splits = load(self.trial.data, self.trial.seed, self.workers.device)
        with self._timed("build"):
            self._build(parent)
            self._resume()

    def _build(self, parent: Path | None) -> None:
        trial, device = self.trial, self.workers.device
        seed_torch(derive(trial.seed, "init"), device)
        network = model_config(trial.model).build(self.data.info, self.data.words)
        self.network = placed(network, self.data.info, device)
        if trial.init is not None:
            if parent is None:
                raise InputError("init.from", "no file", "the parent's checkpoint; train the parent first")
            self.network.load_state_dict(checkpoint.load_weights(parent, device))
        self.stepper = Stepper(self.network, trial.slots, trial.seed, self.workers)
        self.optimizer = optimizers.build(trial.optimizer, self.network.parameters(), device)

    def _resume(self) -> None:
        found = checkpoint.load(self.folder, self.key, self.workers.device) if self.folder else None
        if found is not None:
            model, optimizer, self.progress = found
            self.network.load_state_dict(model)
            self.optimizer.load_state_dict(optimizer)
        here = self.progress.epoch * 10**9 + self.progress.step
        if self.workers.agree(here) != here:
            place = f"epoch {self.progress.epoch}, step {self.progress.step}"
            raise InputError(
                "folder", str(self.folder), f"one that all workers see; rank 0 is not at {place}"
            )

    def loop(self) -> Literal["completed", "diverged", "stopped"]:
        """All epochs that are left."""
        self.network.train()
        while self.progress.epoch < self.trial.epochs:
            with self._timed("train"):
                signal = self._epoch()
            if signal == "stop":
                return "stopped"
            metrics = self._close_epoch()
            signal = self._signal(Event(self.progress.epoch, 0, metrics))
            if not (_finite(metrics["train.loss"]) and _finite(metrics["val.loss"])):
                return "diverged"
            self._heed(signal, due=time.monotonic() - self.saved_at > self.checkpoint_seconds)
            if signal == "stop" and self.progress.epoch < self.trial.epochs:
                return "stopped"
        return "completed"

    def _epoch(self) -> Signal:
        """The steps of one epoch that are left."""
        progress, device = self.progress, self.workers.device
        order_N = _order(self.trial.seed, progress.epoch, len(self.data.train))
        if self.data.train.lengths is None:  # texts are taken by places on the CPU
            order_N = order_N.to(device)
        batches = torch.split(order_N, self.trial.batch_size)
        sums = torch.tensor([progress.loss, progress.correct], dtype=torch.float64, device=device)
        if self.workers.rank:
            sums.zero_()  # what rank 0 took up from a checkpoint is the sum over all workers
        for number in range(progress.step, len(batches)):
            sums += self._step(batches[number], progress.epoch * len(batches) + number)
            progress.step, progress.seen = number + 1, progress.seen + len(batches[number])
            if self.workers.size > 1 and progress.step % POLL:
                continue
            signal = self._signal(Event(progress.epoch, progress.step))
            if signal != "continue":
                self._keep_sums(sums)
                self._heed(signal)
                if signal == "stop":
                    return signal
        self._keep_sums(sums)
        return "continue"

    def _step(self, positions_B: Tensor, step: int) -> Tensor:
        """One update; returns this worker's summed loss and number right."""
        seed_torch(derive(self.trial.seed, "step", step, self.workers.rank), self.workers.device)
        mine_B = self.workers.share(positions_B)
        lent = len(mine_B) == 0  # a last batch smaller than the number of workers
        batch = self.data.train.batch(positions_B[:1] if lent else mine_B)
        self.optimizer.zero_grad(set_to_none=True)
        clean = self.stepper.gradients(batch, step, len(positions_B), share=0.0 if lent else 1.0)
        self.optimizer.step()
        return torch.stack([clean.loss, clean.correct]).double() * (0.0 if lent else 1.0)

    def _keep_sums(self, sums: Tensor) -> None:
        self.progress.loss, self.progress.correct = self.workers.total(sums.clone()).tolist()

    def _close_epoch(self) -> dict[str, float]:
        """Evaluate on validation, choose, and begin the next epoch."""
        progress = self.progress
        metrics = {
            "train.loss": progress.loss / progress.seen,
            "train.accuracy": progress.correct / progress.seen,
        }
        with self._timed("evaluate"):
            metrics |= self._evaluate(self.data.val).metrics("val")
        progress.epoch += 1
        progress.step, progress.loss, progress.correct, progress.seen = 0, 0.0, 0.0, 0
        progress.history.append({"epoch": progress.epoch, **metrics})
        if _better(metrics, progress, self.trial.select):
            progress.best_epoch, progress.best = progress.epoch, _copy(self.network)
        return metrics

    def finish(self, status: Literal["completed", "diverged", "stopped"], keep: Keep) -> Result:
        """The final evaluation on test, of the chosen epoch and of the last one."""
        progress = self.progress
        if status == "stopped":
            return Result(status, history=progress.history, seconds=progress.seconds)
        message = f"loss not finite in epoch {progress.epoch}" if status == "diverged" else ""
        last, best, correct = dict(progress.history[-1]), dict[str, float](), dict[str, bytes]()
        if status == "completed" and progress.best_epoch:
            with self._timed("evaluate"):
                last, best, correct = self._test()
            self._keep_weights(keep)
        return Result(
            status, best, last, progress.best_epoch, progress.history, correct,
            len(self.data.test), progress.seconds, message,
        )  # fmt: skip

    def _test(self) -> tuple[dict[str, float], dict[str, float], dict[str, bytes]]:
        progress = self.progress
        at_last = self._evaluate(self.data.test)
        at_best = at_last
        if progress.best_epoch != progress.epoch:
            weights = _copy(self.network)
            self.network.load_state_dict(progress.best)
            at_best = self._evaluate(self.data.test)
            self.network.load_state_dict(weights)
        last = progress.history[-1] | at_last.metrics("test")
        best = progress.history[progress.best_epoch - 1] | at_best.metrics("test")
        return last, best, {"best": at_best.bits(), "last": at_last.bits()}

    def _keep_weights(self, keep: Keep) -> None:
        if self.folder is None or self.workers.rank:
            return
        if keep in ("best", "both"):
            self.saved(checkpoint.save_weights(self.folder, "best", self.progress.best))
        if keep in ("last", "both"):
            self.saved(checkpoint.save_weights(self.folder, "last", _copy(self.network)))

    def _evaluate(self, examples: Examples) -> Evaluation:
        return evaluate(self.network, examples, self.workers)

    def _signal(self, event: Event) -> Signal:
        """The report's answer to rank 0, on all workers."""
        answer = self.report(event) if self.workers.rank == 0 else "continue"
        return SIGNALS[self.workers.agree(SIGNALS.index(answer))]

    def _heed(self, signal: Signal, due: bool = False) -> None:
        """Write a checkpoint where one is asked for or due."""
        if self.folder is None or self.workers.rank or (signal == "continue" and not due):
            return
        with self._timed("checkpoint"):
            model, optimizer = self.network.state_dict(), self.optimizer.state_dict()
            self.saved(checkpoint.save(self.folder, self.key, model, optimizer, self.progress))
        self.saved_at = time.monotonic()

    def close(self) -> None:
        """Let go of the network: DistributedDataParallel must not outlive its process group."""
        for name in ("stepper", "optimizer", "network"):
            self.__dict__.pop(name, None)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = self.progress.seconds
            seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - start


def placed(network: nn.Module, data: DataInfo, device: torch.device) -> nn.Module:
    """The network on its device, in the memory layout that trains fastest there.

    On a CPU channels-last halves LeNet-5's step: the input gradient of a convolution with few channels
    is slow otherwise.
    """
    network.to(device)
    if device.type == "cpu" and data.kind == "image":
        network.to(memory_format=torch.channels_last)
    return network


def _order(seed: int, epoch: int, size: int) -> Tensor:
    """The order of the training examples in an epoch, a permutation_N."""
    generator = torch.Generator().manual_seed(derive(seed, "order", epoch))
    return torch.randperm(size, generator=generator)


def _better(metrics: dict[str, float], progress: Progress, select: str) -> bool:
    """Whether the epoch beats the best so far; the earlier one wins a tie."""
    if not _finite(metrics[select]):
        return False
    if not progress.best_epoch:
        return True
    held = progress.history[progress.best_epoch - 1][select]
    return metrics[select] < held if select.endswith(".loss") else metrics[select] > held


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in network.state_dict().items()}


def _finite(x: float) -> bool:
    return x == x and abs(x) != float("inf")
