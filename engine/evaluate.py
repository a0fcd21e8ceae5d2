"""Evaluation: loss, accuracy, and which examples were right; a split shared out over the workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from engine.data.examples import Batch, Examples
from engine.distributed import Workers
from engine.models.base import Task
from engine.perturb.targets import logits_of

BATCH = 512
"""Examples in one forward pass; the result does not depend on it but for rounding."""


@dataclass(frozen=True)
class Evaluation:
    """Of one split.

    Attributes:
        loss: mean cross-entropy. accuracy: fraction in [0, 1].
        correct_N: which examples were classified right, bool, in the split's order, on the CPU.
    """

    loss: float
    accuracy: float
    correct_N: Tensor

    def metrics(self, split: str) -> dict[str, float]:
        """As ``split.measure``."""
        return {f"{split}.loss": self.loss, f"{split}.accuracy": self.accuracy}

    def bits(self) -> bytes:
        """Correctness packed into bits; example i is bit i."""
        return np.packbits(self.correct_N.numpy()).tobytes()


Measure = Callable[[Batch], tuple[Tensor, Tensor]]
"""From a batch to its summed losses_E and correctness_EB, for E evaluations made side by side."""


@torch.no_grad()
def evaluate(
    network: nn.Module,
    examples: Examples,
    workers: Workers,
    first: int | None = None,
    task: Task = "classification",
) -> Evaluation:
    """Evaluate in eval mode, the split shared out over the workers; train mode is put back.

    Args:
        first: how many of the examples, the first ones; None takes all.
        task: a network that reconstructs its input has a squared error for its loss, and no example right.
    """
    training = network.training
    network.eval()
    look = _reconstructed if task == "reconstruction" else _classified
    (found,) = share_out(examples, workers, lambda batch: look(network, batch), first=first)
    network.train(training)
    return found


def share_out(
    examples: Examples,
    workers: Workers,
    measure: Measure,
    count: int = 1,
    first: int | None = None,
    dealt: int | None = None,
) -> list[Evaluation]:
    """Batches of a split, each measured by one of the workers; every worker gets the whole result.

    Texts are taken in order of length, so that a batch holds little padding.

    Args:
        measure: looks at one batch. count: E, how many evaluations it makes.
        first: how many of the examples, the first ones; None takes all.
        dealt: size of batches that are the same for any number of workers, for what depends on a batch
            as a whole; None gives each worker a contiguous part.
    """
    order_N = _order(examples, workers.device, first)
    sums_E = torch.zeros(count, dtype=torch.float64, device=workers.device)
    right_EN = torch.zeros(count, len(order_N), device=workers.device)
    if dealt is None:
        batches = torch.split(workers.share(order_N), BATCH)
    else:
        batches = torch.split(order_N, dealt)[workers.rank :: workers.size]
    for chosen_B in batches:
        losses_E, right_EB = measure(examples.batch(chosen_B))
        sums_E += losses_E.double()
        right_EN[:, chosen_B] = right_EB.float()
    totals = workers.total(sums_E).tolist()
    correct_EN = workers.total(right_EN).bool().cpu()
    return [
        Evaluation(total / len(order_N), float(correct_N.double().mean()), correct_N)
        for total, correct_N in zip(totals, correct_EN, strict=True)
    ]


def _reconstructed(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    x = batch.views[0]
    lost_B = (logits_of(network, network, batch) - x.flatten(1)).square().mean(1)
    return lost_B.sum()[None], torch.zeros(1, len(batch), device=x.device)


def _classified(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Summed loss_1 and correctness_1B of a batch."""
    assert batch.labels is not None
    logits_BC = logits_of(network, network, batch)
    loss = nn.functional.cross_entropy(logits_BC, batch.labels, reduction="sum")
    return loss[None], (logits_BC.argmax(1) == batch.labels)[None]


def _order(examples: Examples, device: torch.device, first: int | None) -> Tensor:
    size = len(examples) if first is None else min(first, len(examples))
    if examples.lengths is None:
        return torch.arange(size, device=device)
    return examples.lengths[:size].argsort(stable=True)  # on the CPU, which has to know the lengths
