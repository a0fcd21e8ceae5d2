"""A fake engine: a model whose trials act out a script, in milliseconds.

``model: {name: scripted, script: [...]}``, a list of actions, each ``action`` or ``action:argument``:

report:0.9    an epoch ends, with this accuracy (None: worse each time)
learn:NAME    an epoch ends, with more accuracy the nearer the setting NAME is to 1
sleep:0.5     seconds, in which a request to stop is heard
checkpoint    write where the trial stands
raise:text    an exception         oom          no memory left
nan           the loss diverges    kill         kill -9 of its own process
kill:path     the same, once: while the file is absent, which is then made
unsaid        kill -9 of its own process when its row is written, before it says so
exit          the process ends     hang         for ever, deaf to every request
disk          no space left on the device, an error of the node
cuda          a broken GPU, an error of the node
memory:9e9    what the trial says that it held at most
log:path      append "key pid action node" to a file: what ran, how often and where
once:path     the next action only while the file is absent, which is then made
rank:1        the next action only on this rank
on:path       the next action only on the node whose id the file holds: that of the first to ask
block:0.5     seconds, in which nothing is heard or said

A trial that is started again goes on behind its last checkpoint.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

from engine import checkpoint
from engine.checkpoint import Member, Progress
from engine.config import Trial
from engine.data.base import DataInfo
from engine.identity import trial_key
from engine.models.base import ModelConfig
from engine.report import Event, Report, Signal
from engine.result import Result


class Script:
    """One trial's way through its script."""

    def __init__(
        self, trial: Trial, report: Report, folder: Path | None, workers: Any, member: Member | None = None
    ) -> None:
        import torch

        self.trial, self.report, self.folder, self.workers = trial, report, folder, workers
        self.at, self.history, self.memory, self.step = 0, list[dict[str, float]](), 0, 0
        self.saved: Callable[[Path], None] = lambda path: None
        self.key = member.key if member else trial_key(trial)
        self.lineage = list(member.lineage) if member else []
        held = checkpoint.load(folder, self.key, torch.device("cpu")) if folder is not None else None
        if held is not None:
            self.at, self.history = held[2].method["at"], held[2].history

    def play(self) -> Result:
        script = self.trial.model["script"]
        while self.at < len(script):
            action, _, word = script[self.at].partition(":")
            self.at += 1
            if action in ("once", "rank", "on"):
                self.at += not self.meant(action, word)
                continue
            ended = getattr(self, f"do_{action}")(word)
            if ended is not None:
                return ended
        return self.result("completed")

    def meant(self, action: str, word: str) -> bool:
        if action == "rank":
            return self.workers is None or self.workers.rank == int(word)
        if action == "on":
            return first_node(Path(word)) == node()
        there = Path(word).exists()
        Path(word).touch()
        return not there

    def result(self, status: Any, message: str = "") -> Result:
        if status == "stopped":
            return Result(status, history=self.history)
        last = dict(self.history[-1]) if self.history else {}
        last |= {name.replace("val", "test"): value for name, value in last.items() if "val." in name}
        best = {} if status == "diverged" else last
        return Result(
            status, best, last, len(self.history), self.history, message=message, memory=self.memory
        )

    def keep(self) -> None:
        if self.folder is not None and (self.workers is None or self.workers.rank == 0):
            state = Progress(
                len(self.history), self.step, history=self.history, method={"at": self.at},
                lineage=self.lineage,
            )  # fmt: skip
            self.saved(checkpoint.save(self.folder, self.key, {}, {}, state))

    def heard(self, event: Event) -> Result | None:
        signal_: Signal = "continue"
        self.step = event.step
        if self.workers is None or self.workers.rank == 0:
            signal_ = self.report(event)
        if self.workers is not None:
            order = ("continue", "checkpoint", "stop")
            signal_ = order[self.workers.agree(order.index(signal_))]
        if signal_ != "continue":
            self.keep()
        return self.result("stopped") if signal_ == "stop" else None

    def do_report(self, word: str) -> Result | None:
        epoch = len(self.history) + 1
        value = float(word) if word else 1 / epoch
        metrics = {"train.loss": 1 - value, "val.loss": 1 - value, "val.accuracy": value}
        self.history.append({"epoch": float(epoch), **metrics})
        last = self.at == len(self.trial.model["script"])
        heard = self.heard(Event(epoch, 0, metrics))
        return None if last else heard

    def do_learn(self, word: str) -> Result | None:
        setting: Any = self.trial.model_dump()
        for part in word.split("."):
            setting = setting[part]
        before = self.history[-1]["val.accuracy"] if self.history else 0.0
        return self.do_report(str(before + 0.1 * math.exp(-abs(math.log(setting)))))

    def do_sleep(self, word: str) -> Result | None:
        at, steps = self.at, max(1, round(float(word) / 0.02))
        for _ in range(steps):  # as many on each rank: they agree in each
            time.sleep(float(word) / steps)
            self.at = at - 1  # stopped while it sleeps, it sleeps again
            heard = self.heard(Event(len(self.history), 1))
            self.at = at
            if heard is not None:
                return heard
        return None

    def do_block(self, word: str) -> None:
        time.sleep(float(word))

    def do_checkpoint(self, word: str) -> None:
        self.keep()

    def do_raise(self, word: str) -> None:
        raise RuntimeError(word)

    def do_oom(self, word: str) -> None:
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory")

    def do_disk(self, word: str) -> None:
        raise OSError(28, "No space left on device", "/somewhere")

    def do_cuda(self, word: str) -> None:
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")

    def do_nan(self, word: str) -> Result:
        epoch = len(self.history) + 1
        self.history.append({"epoch": float(epoch), "train.loss": float("nan"), "val.loss": float("nan")})
        return self.result("diverged", f"loss not finite in epoch {epoch}")

    def do_kill(self, word: str) -> None:
        if word and Path(word).exists():
            return
        if word:
            Path(word).touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def do_unsaid(self, word: str) -> None:
        from orchestrator.dispatch import worker

        worker.forget = lambda store, key: os.kill(os.getpid(), signal.SIGKILL)  # it follows the row

    def do_exit(self, word: str) -> None:
        sys.stdout.flush()
        os._exit(3)

    def do_hang(self, word: str) -> None:
        while True:
            time.sleep(3600)

    def do_memory(self, word: str) -> None:
        self.memory = int(float(word))

    def do_log(self, word: str) -> None:
        line = f"{self.key} {os.getpid()} {self.at} {node()}\n".encode()
        with open(word, "ab", buffering=0) as stream:
            stream.write(line)


def node() -> str:
    """Id of the node of Ray that this process is on; ``-`` without Ray."""
    ray = sys.modules.get("ray")
    return str(ray.get_runtime_context().get_node_id()) if ray and ray.is_initialized() else "-"


def first_node(path: Path) -> str:
    """The id in a file; this node's where there is none yet."""
    try:
        with path.open("x") as file:
            file.write(node())
    except FileExistsError:
        while not path.read_text():
            time.sleep(0.01)
    return path.read_text()


def play(
    trial: Trial, report: Report, folder: Path | None = None, *, workers: Any = None,
    saved: Callable[[Path], None] | None = None, member: Member | None = None, **others: Any,
) -> Result:  # fmt: skip
    gang = workers if workers is not None and workers.size > 1 else None
    script = Script(trial, report, folder, gang, member)
    script.saved = saved or script.saved
    return script.play()


class Config(ModelConfig):
    """The settings."""

    shape: ClassVar[Any] = (1, 8, 8)
    training: ClassVar[Any] = staticmethod(play)

    name: Literal["scripted"]
    script: tuple[str, ...] = ("report:0.5",)
    note: str = ""

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> Any:
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.Linear(64, data.classes))
