"""How often each class was taken for which."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.data.examples import Batch, Examples
from engine.evaluate import Evaluation, share_out
from engine.evaluations.base import Subject
from engine.perturb.targets import logits_of


@torch.no_grad()
def classified(subject: Subject, examples: Examples, first: int | None) -> tuple[Evaluation, Tensor]:
    """Clean evaluation, and counts_CC: number of examples of each label (rows) by prediction (columns)."""
    network, classes = subject.network, subject.data.info.classes
    counts = torch.zeros(classes * classes, dtype=torch.int64, device=subject.workers.device)

    def measure(batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.labels is not None
        logits_BC = logits_of(network, network, batch)
        loss = nn.functional.cross_entropy(logits_BC, batch.labels, reduction="sum")
        guess_B = logits_BC.argmax(1)
        counts.index_add_(0, batch.labels * classes + guess_B, torch.ones_like(guess_B))
        return loss[None], (guess_B == batch.labels)[None]

    (found,) = share_out(examples, subject.workers, measure, first=first)
    return found, subject.workers.total(counts).view(classes, classes).cpu()


def macro_f1(counts_CC: Tensor) -> float:
    """Mean over the classes that occur of 2 TP / (2 TP + FP + FN).

    >>> macro_f1(torch.tensor([[2, 0, 0], [1, 1, 0], [0, 0, 0]]))
    0.7333333333333334
    """
    hits_C = counts_CC.diagonal().double()
    both_C = counts_CC.sum(0) + counts_CC.sum(1)
    occurs_C = both_C > 0
    return float((2 * hits_C[occurs_C] / both_C[occurs_C]).mean())
