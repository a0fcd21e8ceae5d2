"""Train one trial: the loop over epochs and steps, selection on validation, the final evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from engine import allocator, checkpoint, optimizers, watch
from engine.checkpoint import Member, Progress
from engine.config import Keep, Trial
from engine.data.loading import Splits, load
from engine.distributed import Workers
from engine.errors import InputError
from engine.feed import Feed, Taken
from engine.identity import trial_key
from engine.models.catalog import config as model_config
from engine.models.dropout import compiled
from engine.parent import take_over
from engine.perturb.random import derive, seed_torch
from engine.placing import placed
from engine.poll import Poll
from engine.report import SIGNALS, Event, Report, Signal, carry_on
from engine.result import Result, Status
from engine.selecting import begin_epoch
from engine.state import State
from engine.step import Stepper


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
    micro: int = 0,
    member: Member | None = None,
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
        micro: examples in one pass of a worker at most, 0 for all: gradients are accumulated over the
            parts of a batch, whose size stays the trial's.
        member: of a population, whose checkpoint may have been taken over; None is a trial by itself.

    Raises:
        DataMissing, InputError: the data are not there or not what was published.
        torch.OutOfMemoryError: the device has no memory left.

    >>> t = Trial.model_validate(dict(data="digits", model="lenet5_8x8", method="standard", epochs=1))
    >>> train(t).status
    'completed'
    """
    workers = workers or Workers()
    allocator.keep_freed()
    if workers.device.type == "cuda":  # what an earlier trial of this process left is not this one's
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(workers.device)
    devices = [workers.device] if workers.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        run = _Run(trial, report, folder, workers, checkpoint_seconds, saved, micro, member)
        try:
            run.start(parent)
            return replace(run.finish(run.loop(), keep), memory=held(workers.device))
        finally:
            run.close()
            allocator.release()


def held(device: torch.device) -> int:
    """Most bytes of a GPU's memory that this trial held at once; 0 on a CPU, which is not measured."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0


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
        micro: int,
        member: Member | None,
    ):
        self.trial, self.report, self.folder, self.workers = trial, report, folder, workers
        self.saved = saved or (lambda path: None)
        self.key = member.key if member else trial_key(trial)
        self.progress = Progress(lineage=list(member.lineage) if member else [])
        self.checkpoint_seconds = checkpoint_seconds
        self.saved_at = time.monotonic()
        self.micro = micro

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
        self.network = placed(network, self.data.info, device, trial.memory_format)
        if trial.init is not None:
            self.data = take_over(self.network, self.data, parent, trial.init.use, device, trial.leaves)
        others = self.data.unlabelled
        self.state = State(len(self.data.train) + (len(others) if others is not None else 0))
        self.stepper = Stepper(
            self.network, trial.slots, trial.seed, self.workers, trial.precision, self.state
        )
        self.optimizer = optimizers.build(trial.optimizer, self.network.parameters(), device)
        self.updates = optimizers.Updates(trial, self.optimizer, self.network, self.stepper)
        norms = bool(self.stepper.of.passes.norms)
        if self.micro < 0:
            raise InputError("micro", self.micro, "a whole number >= 0")
        if norms and self.micro:
            legal = "0 for a model with batch normalisation, which sees the batch as a whole"
            raise InputError("micro", self.micro, legal)
        self.feed = Feed(trial, self.data, self.workers, self.state, empty=norms)
        if trial.compile:
            compiled(self.network)

    def _resume(self) -> None:
        found = checkpoint.load(self.folder, self.key, self.workers.device) if self.folder else None
        if found is not None:
            model, optimizer, self.progress = found
            self.network.load_state_dict(model)
            self.optimizer.load_state_dict(optimizer)
            self.state.restore(self.progress.method, self.workers)
            self.stepper.of.passes.scaler.load_state_dict(self.progress.scaler)
        here = self.progress.epoch * 10**9 + self.progress.step
        if self.workers.agree(here) != here:
            place = f"epoch {self.progress.epoch}, step {self.progress.step}"
            raise InputError(
                "folder", str(self.folder), f"one that all workers see; rank 0 is not at {place}"
            )

    def loop(self) -> Status:
        """All epochs that are left."""
        self.network.train()
        while self.progress.epoch < self.trial.epochs and not self._out_of_patience():
            with self._timed("train"):
                signal = self._epoch()
            if signal == "stop":
                return "stopped"
            metrics = self._close_epoch()
            signal = self._signal(Event(self.progress.epoch, 0, metrics), may_be_due=True)
            if not (watch.finite(metrics["train.loss"]) and watch.finite(metrics["val.loss"])):
                return "diverged"
            self._heed(signal)
            if signal == "stop" and self.progress.epoch < self.trial.epochs:
                return "stopped"
        return "completed"

    def _out_of_patience(self) -> bool:
        progress, patience = self.progress, self.trial.patience
        return bool(patience) and progress.epoch - progress.best_epoch >= patience

    def _epoch(self) -> Signal:
        """The steps of one epoch that are left."""
        progress, device = self.progress, self.workers.device
        if progress.step == 0:
            begin_epoch(self.stepper.of, self.data.train, self.trial.slots, progress.epoch)
        sums = torch.tensor([progress.loss, progress.correct], dtype=torch.float64, device=device)
        poll = Poll(self.workers, progress.step)
        if self.workers.rank:
            sums.zero_()  # what rank 0 took up from a checkpoint is the sum over all workers
        for number, places_B in enumerate(self.feed.epoch(progress.epoch)):
            if number < progress.step:
                continue
            sums += self._step(places_B, progress.epoch * self.feed.steps + number)
            progress.step, progress.seen = number + 1, progress.seen + len(places_B)
            if not poll.due(number):
                continue
            signal = self._signal(Event(progress.epoch, progress.step))
            poll.heard(number)
            if signal != "continue":
                self._keep_sums(sums)
                self._heed(signal)
                if signal == "stop":
                    return signal
        self._keep_sums(sums)
        return "continue"

    def _step(self, places_B: Tensor, step: int) -> Tensor:
        """One update; returns this worker's summed loss and number right."""
        seed_torch(derive(self.trial.seed, "step", step, self.workers.rank), self.workers.device)
        taken: Taken = self.feed.take(places_B, step)
        epoch = step / self.feed.steps
        self.updates.begin(epoch)
        clean = self.stepper.gradients(
            taken.batch, step, taken.labelled, taken.share, examples=taken.examples, aims=taken.aims,
            epoch=epoch, places=taken.places, micro=self.micro, update=self.updates.between,
        )  # fmt: skip
        self.updates.take()
        return torch.stack([clean.loss, clean.correct]).double() * taken.share

    def _keep_sums(self, sums: Tensor) -> None:
        self.progress.loss, self.progress.correct = self.workers.total(sums.clone()).tolist()

    def _close_epoch(self) -> dict[str, float]:
        """Evaluate on validation, choose, and begin the next epoch."""
        progress = self.progress
        metrics = {"train.loss": progress.loss / progress.seen}
        if self.trial.model_info.task == "classification":
            metrics["train.accuracy"] = progress.correct / progress.seen
        with self._timed("evaluate"):
            metrics |= self._measure("val")
            if self.trial.watch_test:
                metrics |= self._measure("test")
        self.state.close_epoch(self.trial.slots.objective.momentum, self.workers)
        progress.epoch += 1
        progress.step, progress.loss, progress.correct, progress.seen = 0, 0.0, 0.0, 0
        progress.history.append({"epoch": progress.epoch, **metrics})
        watch.choose(metrics, progress, self.trial, watch.copied(self.network))
        return metrics

    def finish(self, status: Status, keep: Keep) -> Result:
        """The final evaluation on test, of the chosen epochs and of the last one."""
        progress = self.progress
        if status == "stopped":
            return Result(status, history=progress.history, seconds=progress.seconds)
        message = f"loss not finite in epoch {progress.epoch}" if status == "diverged" else ""
        found: dict[str, dict[str, float]] = {"last": dict(progress.history[-1])}
        correct: dict[str, bytes] = {}
        if status == "completed" and progress.best_epoch:
            with self._timed("evaluate"):
                found, correct = watch.final(self.network, self.data, self.trial, self.workers, progress)
            self._keep_weights(keep)
        also = {name: found[name] for name in found if name not in ("best", "last")}
        return Result(
            status, found.get("best", {}), found["last"], progress.best_epoch, progress.history, correct,
            len(self.data.test), progress.seconds, message, also,
        )  # fmt: skip

    def _measure(self, split: str) -> dict[str, float]:
        return watch.measure(self.network, self.data, split, self.trial, self.workers)[0]

    def _keep_weights(self, keep: Keep) -> None:
        if self.folder is None or self.workers.rank:
            return
        for name in self.progress.chosen if keep == "all" else ["best"] if keep in ("best", "both") else []:
            self.saved(checkpoint.save_weights(self.folder, name, self.progress.weights[name]))
        if keep in ("last", "both", "all"):
            self.saved(checkpoint.save_weights(self.folder, "last", watch.copied(self.network)))

    def _signal(self, event: Event, may_be_due: bool = False) -> Signal:
        """The report's answer to rank 0, or that its clock says a checkpoint is due, on all workers."""
        answer = self.report(event) if self.workers.rank == 0 else "continue"
        due = may_be_due and time.monotonic() - self.saved_at > self.checkpoint_seconds
        if answer == "continue" and due:
            answer = "checkpoint"
        return SIGNALS[self.workers.agree(SIGNALS.index(answer))]

    def _heed(self, signal: Signal) -> None:
        """Write a checkpoint where one is asked for."""
        if signal == "continue":
            return
        self.progress.method = self.state.saved(self.workers)
        self.progress.scaler = self.stepper.of.passes.scaler.state_dict()
        if self.folder is None or self.workers.rank:
            return
        with self._timed("checkpoint"):
            model, optimizer = self.network.state_dict(), self.optimizer.state_dict()
            self.saved(checkpoint.save(self.folder, self.key, model, optimizer, self.progress))
        self.saved_at = time.monotonic()

    def close(self) -> None:
        """Let go of the network: DistributedDataParallel must not outlive its process group."""
        for name in ("updates", "feed", "stepper", "optimizer", "network"):
            self.__dict__.pop(name, None)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = self.progress.seconds
            seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - start
