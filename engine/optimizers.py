"""Optimisers from their settings, with the learning rate as a tensor and the fused kernels."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from engine.config import SGD, Adam, AdamW


def build(
    settings: Adam | SGD, parameters: Iterable[nn.Parameter], device: torch.device
) -> torch.optim.Optimizer:
    """The optimiser that the settings name.

    The learning rate is a tensor, so that a leading trial axis can carry many. The fused kernels take
    one and are the fastest (Adam over ten 400 x 120 matrices on one CPU thread: 0.22 ms against 0.58).
    """
    lr = torch.tensor(settings.lr, device=device)
    parameters = list(parameters)
    if isinstance(settings, SGD):
        return torch.optim.SGD(
            parameters, lr=lr, momentum=settings.momentum, nesterov=settings.nesterov,
            weight_decay=settings.weight_decay, fused=True,
        )  # fmt: skip
    kind = torch.optim.AdamW if isinstance(settings, AdamW) else torch.optim.Adam
    return kind(
        parameters, lr=lr, betas=settings.betas, eps=settings.eps,
        weight_decay=settings.weight_decay, fused=True,
    )  # fmt: skip
