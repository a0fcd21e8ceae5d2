"""Cost of a DropAttack step relative to a standard step on the same model.

A step is what the training loop does for one batch: take the batch, clear the gradients, one clean pass
and for DropAttack K more for the input and K for a weight, update with Adam. DropAttack makes 1 + 2K
forward and backward passes, so a factor of 1 + 2K is what passes alone cost; the rest is masks, norms,
saving and restoring weights.

Each round times every variant once, in an order that rotates, on blocks of steps long enough for the
clock, and divides by the standard step of the same round. Shown are the median of these ratios over the
rounds and their quartiles. Data are random, of the shapes and sizes of the real ones (a text has 50 to
100 tokens); their content has no effect on the cost, but the size of the vocabulary does, since the
embedding matrix is attacked: two are measured. The device is a GPU when there is one, timed by the wall
clock and waited for at both ends of a block; on a CPU one thread is used, as in a trial, and its processor
time is taken, so that other processes on the machine count little.

    python -m benchmarks.step_cost
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.common import finish, machine, parser, shown, summary, table, verdict
from engine import optimizers
from engine.data.base import Arrays, DataInfo
from engine.data.examples import Examples
from engine.distributed import Workers, default_device
from engine.methods.base import Preset
from engine.methods.dropattack import Config as DropAttack
from engine.methods.standard import Config as Standard
from engine.models.catalog import config as model_config
from engine.models.catalog import describe
from engine.perturb.random import derive, seed_torch
from engine.step import Stepper
from engine.train import placed
from engine.update import Adam

BLOCK_SECONDS = 0.1
STEPS_K = (1, 2, 3, 5)


@dataclass(frozen=True)
class Case:
    """A model, the shape of its data, its batch, and what DropAttack attacks."""

    label: str
    model: str
    info: DataInfo
    batch: int
    targets: tuple[str, str]


TEXT = ("embedding", "lstm.ih.w")
CASES = (
    Case("lenet5_8x8", "lenet5_8x8", DataInfo("image", 10, shape=(1, 8, 8)), 128, ("input", "conv1.w")),
    Case("lenet5", "lenet5", DataInfo("image", 10, shape=(1, 28, 28)), 128, ("input", "conv1.w")),
    Case("lstm, 5,000 words", "lstm", DataInfo("text", 2, vocabulary=5000), 32, TEXT),
    Case("lstm, 30,000 words", "lstm", DataInfo("text", 2, vocabulary=30000), 32, TEXT),
)


def examples(case: Case, device: torch.device, size: int = 1024) -> Examples:
    """Random data of the case's shape."""
    draw = np.random.default_rng(0)
    y = draw.integers(0, case.info.classes, size)
    if case.info.kind == "image":
        x = draw.integers(0, 256, (size, *case.info.shape), dtype=np.uint8)
        return Examples.load(Arrays(x, y), 255.0, device)
    offsets = np.concatenate([[0], np.cumsum(draw.integers(50, 101, size))])
    tokens = draw.integers(2, case.info.vocabulary, offsets[-1], dtype=np.int32)
    return Examples.load(Arrays(tokens, y, offsets), 1.0, device)


def stepping(case: Case, method: Preset, device: torch.device) -> Callable[[int], None]:
    """A function that makes one step of a method on a model of its own, as ``engine.train`` does."""
    seed_torch(derive(0, "init"), device)
    network = placed(model_config({"name": case.model}).build(case.info), case.info, device)
    optimizer = optimizers.build(Adam(name="adam"), network.parameters(), device)
    slots = method.slots(describe({"name": case.model})).collapsed()
    stepper = Stepper(network, slots, 0, Workers(device=device))
    data = examples(case, device)
    order_N = torch.randperm(len(data), device=device if data.lengths is None else "cpu")
    order = order_N.view(-1, case.batch)  # the number of examples is a multiple of both batch sizes

    def step(number: int) -> None:
        seed_torch(derive(0, "step", number, 0), device)
        batch = data.batch(order[number % len(order)])
        optimizer.zero_grad(set_to_none=True)
        stepper.gradients(batch, number, case.batch)
        optimizer.step()

    return step


def seconds(step: Callable[[int], None], count: int, device: torch.device) -> float:
    """Seconds for each of some steps, the device's work included."""
    # On a CPU the process's own time: with one thread it is the wall time less what others took of the core.
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    wait(device)
    start = clock()
    for number in range(count):
        step(number)
    wait(device)
    return (clock() - start) / count


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(case: Case, rounds: int, device: torch.device) -> dict[str, Any]:
    """Seconds of every variant and their ratios to the standard step, over the rounds."""
    variants = {0: stepping(case, Standard(name="standard"), device)}
    for k in STEPS_K:
        method = DropAttack(name="dropattack", targets=case.targets, steps=k)
        variants[k] = stepping(case, method, device)
    once = {k: min(seconds(step, 3, device) for _ in range(3)) for k, step in variants.items()}
    counts = {k: max(1, round(BLOCK_SECONDS / s)) for k, s in once.items()}
    taken: dict[int, list[float]] = {k: [] for k in variants}
    for turn in range(rounds):
        first = turn % len(variants)
        for k in [*list(variants)[first:], *list(variants)[:first]]:
            taken[k].append(seconds(variants[k], counts[k], device))
    found: dict[str, Any] = {"standard_ms": summary([1e3 * s for s in taken[0]])}
    for k in STEPS_K:
        ratios = [s / standard for s, standard in zip(taken[k], taken[0], strict=True)]
        limit = 3.1 if k == 1 else 1 + 2 * k + 0.2
        found[f"K={k}"] = {"ratio": summary(ratios), "passes": 1 + 2 * k, "target": limit}
    return found


def main() -> None:
    """Measure, show, write."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=15, help="rounds over all variants")
    options = arguments.parse_args()
    device = default_device()
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu, 1 thread"
    facts = machine(["torch", "numpy"], name)
    cases = {case.label: measure(case, options.rounds, device) for case in CASES}
    rows = []
    for label, found in cases.items():
        for k in STEPS_K:
            of = found[f"K={k}"]
            rows.append(
                [f"{label}, K = {k}", shown(found["standard_ms"]), shown(of["ratio"]), str(of["passes"]),
                 verdict(of["ratio"]["median"], of["target"])]
            )  # fmt: skip
    columns = ["model", "standard step, ms", "DropAttack / standard", "passes", "target"]
    table(f"Cost of a step, {options.rounds} rounds", columns, rows)
    where = "step_cost" if device.type == "cpu" else "step_cost_cuda"
    finish(options.out, where, facts, {"rounds": options.rounds, "cases": cases})


if __name__ == "__main__":
    main()
