"""SPSA: an attack that sees losses and no gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from engine.perturb.inputs import Draw
from engine.perturb.random import bernoulli

Losses = Callable[[Tensor], Tensor]
Project = Callable[[Tensor], Tensor]


def estimate(losses: Losses, r: Tensor, draw: Draw, delta: float, samples: int) -> Tensor:
    """The gradient of each example's loss at r, estimated by simultaneous perturbation:

        g = 1/n sum_i  (D(r + delta v_i) - D(r - delta v_i)) / (2 delta) * v_i,   v_i in {-1, 1}^d at random.

    Two forward passes a sample; directions are drawn for each example apart, from (seed, step, example).

    Args:
        losses: D_B of each example at r. r: perturbations (B, ...), float32.
        draw: the step names the estimate. delta: where losses are compared. samples: n.

    Source: Spall (1992); Uesato et al. (2018), Algorithm 1.
    """
    g = torch.zeros_like(r)
    for i in range(samples):
        heads = bernoulli(draw.seed, draw.step, f"spsa.{i}", draw.rows, tuple(r.shape), 0.5)
        v = torch.where(heads, 1.0, -1.0).to(r)
        slope_B = (losses(r + delta * v) - losses(r - delta * v)) / (2 * delta)
        g += slope_B.view(-1, *[1] * (r.dim() - 1)) * v / samples
    return g


def climb(
    losses: Losses,
    r: Tensor,
    draw: Draw,
    project: Project,
    *,
    steps: int,
    lr: float,
    delta: float,
    samples: int,
) -> Tensor:
    """r after ascent by Adam on estimated gradients, projected after each step.

    Args:
        losses, delta, samples: as of :func:`estimate`. r: where to start. draw: the seed and the examples;
            its step is the number of a restart. project: onto the ball and the range.
        steps: number of updates. lr: Adam's step size.
    """
    r = r.clone()
    adam = torch.optim.Adam([r], lr=lr, maximize=True)
    for t in range(steps):
        r.grad = estimate(losses, r, Draw(draw.seed, draw.step * steps + t, draw.rows), delta, samples)
        adam.step()
        r.copy_(project(r))
    r.grad = None
    return r
