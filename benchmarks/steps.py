"""What the step benchmarks share: models with made-up data, one step of a method, timing side by side.

Data are random, of the shapes and sizes of the real ones (a text has 50 to 100 tokens); their content has no
effect on the cost, but the size of the vocabulary does, since the embedding matrix can be attacked. On a GPU
the wall clock is read, after the device has done all that it was given; on a CPU one thread is used, as in a
trial, and its processor time is taken, so that other processes on the machine count little.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from engine import allocator, optimizers
from engine.data.base import Arrays, DataInfo
from engine.data.examples import Examples
from engine.distributed import Workers
from engine.methods.base import Preset
from engine.models.catalog import config as model_config
from engine.models.catalog import describe
from engine.perturb.random import derive, seed_torch
from engine.placing import placed
from engine.state import State
from engine.step import Stepper
from engine.update import Adam

SIZE = 1024
"""Examples of a made-up data set, a multiple of every batch size."""

LATE = 1000.0
"""An epoch after every warm-up and ramp."""


@dataclass(frozen=True)
class Case:
    """A model, the shape of its data, its batch, and what DropAttack attacks."""

    label: str
    model: str
    info: DataInfo
    batch: int
    targets: tuple[str, ...]


def image(model: str, shape: tuple[int, ...], batch: int, weight: str = "conv1.w") -> Case:
    """A model of images, attacked on the pixels and on one weight."""
    return Case(model, model, DataInfo("image", 10, shape=shape), batch, ("input", weight))


def text(model: str, vocabulary: int, batch: int = 32, weight: str = "lstm.ih.w") -> Case:
    """A model of texts, attacked on the embedding matrix and on one weight."""
    label = f"{model}, {vocabulary:,} words"
    return Case(label, model, DataInfo("text", 2, vocabulary=vocabulary), batch, ("embedding", weight))


class Subject:
    """A model on a device with its optimiser and data, always the same ones."""

    def __init__(self, case: Case, device: torch.device):
        self.case, self.device = case, device
        allocator.keep_freed()
        seed_torch(derive(0, "init"), device)
        self.network: nn.Module = model_config({"name": case.model}).build(case.info)
        self.network = placed(self.network, case.info, device)
        self.optimizer = optimizers.build(Adam(name="adam"), self.network.parameters(), device)
        self.data = examples(case, device)
        order_N = torch.randperm(SIZE, device=device if self.data.lengths is None else "cpu")
        self.order: Tensor = order_N.view(-1, case.batch)


class Step(Subject):
    """Calls make optimisation steps of a method, as ``engine.train`` does."""

    def __init__(self, case: Case, method: Preset, device: torch.device):
        super().__init__(case, device)
        slots = method.slots(describe({"name": case.model})).collapsed()
        self.stepper = Stepper(self.network, slots, 0, Workers(device=device), state=State(SIZE))

    def __call__(self, number: int) -> None:
        seed_torch(derive(0, "step", number, 0), self.device)
        places = self.order[number % len(self.order)]
        batch = self.data.batch(places)
        self.optimizer.zero_grad(set_to_none=True)
        self.stepper.gradients(
            batch, number, len(batch), epoch=LATE, places=batch.index, update=self._between
        )  # fmt: skip
        self.optimizer.step()

    def _between(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def examples(case: Case, device: torch.device, size: int = SIZE) -> Examples:
    """Random data of the case's shape."""
    draw = np.random.default_rng(0)
    y = draw.integers(0, case.info.classes, size)
    if case.info.kind == "image":
        x = draw.integers(0, 256, (size, *case.info.shape), dtype=np.uint8)
        return Examples.load(Arrays(x, y), 255.0, device)
    offsets = np.concatenate([[0], np.cumsum(draw.integers(50, 101, size))])
    tokens = draw.integers(2, case.info.vocabulary, offsets[-1], dtype=np.int32)
    return Examples.load(Arrays(tokens, y, offsets), 1.0, device)


def side_by_side(
    variants: Mapping[str, Callable[[int], None]], rounds: int, device: torch.device, block: float
) -> dict[str, list[float]]:
    """Seconds a call of each variant in each round.

    Each round times every variant once, in an order that rotates, on as many calls as take about ``block``
    seconds, so that values of one round can be compared though the machine is not the same from one
    second to the next.
    """
    once = {name: min(seconds(call, 2, device) for _ in range(2)) for name, call in variants.items()}
    counts = {name: max(1, round(block / s)) for name, s in once.items()}
    taken: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(rounds):
        first = turn % len(names)
        for name in [*names[first:], *names[:first]]:
            taken[name].append(seconds(variants[name], counts[name], device))
    return taken


def seconds(call: Callable[[int], None], count: int, device: torch.device) -> float:
    """Seconds for each of some calls, the device's work included."""
    # On a CPU the process's own time: with one thread it is the wall time less what others took of the core.
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    wait(device)
    start = clock()
    for number in range(count):
        call(number)
    wait(device)
    return (clock() - start) / count


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
