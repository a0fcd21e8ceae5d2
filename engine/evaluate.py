"""Clean evaluation: loss, accuracy, and which examples were right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from engine.data.examples import Batch, Examples
from engine.distributed import Workers
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


@torch.no_grad()
def evaluate(network: nn.Module, examples: Examples, workers: Workers) -> Evaluation:
    """Evaluate in eval mode, the split shared out over the workers; train mode is put back.

    Texts are taken in order of length, so that a batch holds little padding.
    """
    training = network.training
    network.eval()
    order_N = _order(examples, workers.device)
    sums = torch.zeros(1, dtype=torch.float64, device=workers.device)
    right_N = torch.zeros(len(examples), device=workers.device)
    for chosen_B in torch.split(workers.share(order_N), BATCH):
        batch = examples.batch(chosen_B)
        loss, right_B = _batch(network, batch)
        sums += loss
        right_N[chosen_B] = right_B
    network.train(training)
    total = float(workers.total(sums).item())
    correct_N = workers.total(right_N).bool().cpu()
    return Evaluation(total / len(examples), float(correct_N.double().mean()), correct_N)


def _batch(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Summed loss and correctness_B of a batch."""
    assert batch.labels is not None
    logits_BC = logits_of(network, network, batch)
    loss = nn.functional.cross_entropy(logits_BC, batch.labels, reduction="sum")
    return loss.double(), (logits_BC.argmax(1) == batch.labels).float()


def _order(examples: Examples, device: torch.device) -> Tensor:
    lengths_N = examples.lengths
    if lengths_N is None:
        return torch.arange(len(examples), device=device)
    return lengths_N.argsort(stable=True)  # on the CPU, which has to know the lengths
