"""AutoAttack on a batch of images, through the package ``pyautoattack``.

Traps that this file exists for: the package seeds torch's global generators, takes pixels in [0, 1] alone,
calls ``backward`` (which would fill the parameters' ``.grad``) and removes a tracer such as a debugger's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from engine.perturb.random import derive
from engine.slots.attack import Norm, Range

NORMS = {"linf": "Linf", "l2": "L2"}


def autoattack(
    logits: Callable[[Tensor], Tensor],
    x_BCHW: Tensor,
    y_B: Tensor,
    *,
    norm: Norm,
    epsilon: float,
    clamp: Range | None,
    parts: Sequence[str],
    targets: int,
    queries: int,
    seed: int,
    parameters: Sequence[nn.Parameter] = (),
) -> Tensor:
    """r_BCHW within the ball, 0 where no part succeeded.

    Args:
        logits: of images. clamp: their range. parts, targets, queries: of the ensemble.
        parameters: whose gradients are to stay as they are.
    """
    import pyautoattack

    low, high = clamp or (0.0, 1.0)
    width = high - low

    def unit(u_BCHW: Tensor) -> Tensor:
        return logits(low + width * u_BCHW)

    with _contained(parameters, x_BCHW.device):
        suite: Any = pyautoattack.AutoAttack(
            unit, norm=NORMS[norm], eps=epsilon / width, attacks=list(parts), version="custom",
            device=x_BCHW.device, seed=derive(seed, "autoattack") % 2**32,
        )  # fmt: skip
        # The custom version starts from other numbers of restarts and classes than the standard one.
        suite.apgd.n_restarts = suite.fab.n_restarts = 1
        suite.apgd_targeted.n_target_classes = suite.fab.n_target_classes = targets
        suite.square.n_queries = queries
        found: Tensor = suite.run_standard_evaluation((x_BCHW - low) / width, y_B, batch_size=len(x_BCHW))[0]
    moved_B = (found != (x_BCHW - low) / width).flatten(1).any(1)
    r = low + width * found - x_BCHW
    return torch.where(moved_B.view(-1, 1, 1, 1), r, 0.0)


@contextmanager
def _contained(parameters: Sequence[nn.Parameter], device: torch.device) -> Iterator[None]:
    wanted = [(w, w.requires_grad) for w in parameters]
    trace = sys.gettrace()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        try:
            for w, _ in wanted:
                w.requires_grad_(False)
            yield
        finally:
            sys.settrace(trace)
            for w, flag in wanted:
                w.requires_grad_(flag)
