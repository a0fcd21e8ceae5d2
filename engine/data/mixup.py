"""Mixup: a batch mixed with itself, (lambda x + (1 - lambda) x', lambda y + (1 - lambda) y')."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from engine.errors import InputError
from engine.perturb.random import derive, uniform


def mixup_weight(seed: int, step: int, alpha: float) -> float:
    """lambda ~ Beta(alpha, alpha), one for the whole global batch.

    Drawn on the host, so that no device is waited for and all workers have the same.

    Args:
        seed, step: the trial's seed, the optimisation step.
        alpha: > 0; 1.4 in AWP's comparison.

    Source: Zhang et al. (2018), mixup, Algorithm in Figure 1a.
    """
    if not alpha > 0:
        raise InputError("mixup", alpha, "a number > 0")
    # RandomState: its stream is frozen, see engine.data.subset.
    generator = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(derive(seed, "mixup", step))))
    return float(generator.beta(alpha, alpha))


def mixup_partners(seed: int, step: int, size: int, device: torch.device) -> Tensor:
    """With whom each example of the global batch is mixed: a permutation of 0 ... size - 1, int64 (size,).

    A worker that holds places p_B of the global batch fetches its partners, ``positions[partners[p_B]]``,
    from its own copy of the data: they may be in another worker's share.

    Args:
        seed, step: the trial's seed, the optimisation step.
        size: examples in the global batch. device: where the permutation is wanted.
    """
    places = torch.arange(size, device=device)
    return uniform(seed, step, "mixup", places, (size,)).argsort(stable=True)


def mix(first: Tensor, second: Tensor, weight: float) -> Tensor:
    """weight * first + (1 - weight) * second: of images, or of labels as probabilities_BC."""
    return torch.lerp(second, first, weight)
