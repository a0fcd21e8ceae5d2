"""The selection slot: which examples the input slot perturbs."""

from __future__ import annotations

from typing import Literal

from engine.settings import Count, Flag, Frozen


class Selection(Frozen):
    """n examples drawn at the start of every epoch with p_i = ||g_i||^power / sum_j ||g_j||^power.

    g_i = grad_{x_i} L(theta, x_i) of the training examples as stored, all in one backward pass over each
    batch: the gradient of a sum of losses with respect to the inputs holds every g_i.

    Attributes:
        n: how many are drawn; all of them when there are no more.
        power: 1 (norm) or 2 (squared norm).
        replacement: draw with replacement: an example drawn twice is perturbed once.
        perturbations: ``frozen`` computes them once, with the weights at the start of the epoch (the
            algorithm read literally); ``refreshed`` in each batch with the weights of the moment.
        mode: of BatchNorm and dropout in the passes that score: ``eval`` (examples do not depend on each
            other) or ``train``.

    Source: Adaptive Adversarial Training, Algorithm 1. Replacement, mode and the moment of the
    perturbations are not given there.
    """

    n: Count
    power: Literal[1, 2] = 1
    replacement: Flag = False
    perturbations: Literal["frozen", "refreshed"] = "frozen"
    mode: Literal["eval", "train"] = "eval"
