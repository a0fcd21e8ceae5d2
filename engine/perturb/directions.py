"""Directions in the space of weights along which a loss landscape is looked at, scaled to the weights."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from engine.perturb.chain import Named
from engine.perturb.random import normal
from engine.perturb.weights import SizeNorm, relative_step

Vectors = Literal["fixed", "moved"]


def weight_matrices(network: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of more than one dimension whose name holds "weight": what AWP perturbs.

    >>> list(weight_matrices(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))))
    ['0.weight']
    """
    return {n: w for n, w in network.named_parameters() if w.dim() > 1 and "weight" in n}


def filter_normalised(
    network: nn.Module, seed: int, number: int, vectors: Vectors = "fixed"
) -> dict[str, Tensor]:
    """d_{l,j} ||w_{l,j}|| / ||d_{l,j}|| with d ~ N(0, 1), j running over the filters of tensor l.

    A filter is a slice along the first axis of a tensor of more than one dimension: an output channel of
    a convolution, the row of a linear layer, a word of an embedding. Buffers have no direction.

    Args:
        number: which direction; d is a function of (seed, number, name of the tensor, place in it).
        vectors: ``fixed`` leaves tensors of one dimension (biases, scales of batch norm) where they are,
            the ``biasbn`` of Li et al. and all their published commands; ``moved`` takes every element as
            a filter, so that it moves by plus or minus its own size (DropAttack's notebook).

    Source: Li et al. (2018), section 4; AWP, Eq. 5 and Algorithm 1, lines 2-7; DropAttack, Eq. 14.
    """
    found = {}
    for name, parameter in network.named_parameters():
        w = parameter.detach()
        if w.dim() > 1 or vectors == "moved":
            rows = torch.arange(w.shape[:1].numel(), device=w.device)
            d = normal(seed, number, f"direction:{name}", rows, tuple(w.shape)).to(w.dtype)
            found[name] = _scaled(d, w)
    return found


def steepest(g: Named, w: Named, size_norm: SizeNorm = "l2") -> dict[str, Tensor]:
    """||w_l|| g_l / ||g_l|| for each tensor l: the adversarial weight perturbation of gamma = 1.

    Source: AWP, Eq. 10 with one step.
    """
    return relative_step({}, g, w, 1.0, size_norm)


def combined(directions: list[Named], amounts: tuple[float, ...]) -> dict[str, Tensor]:
    """sum_k amount_k d_k; a tensor that a direction does not hold is not moved by it.

    >>> one = {"w": torch.ones(2)}
    >>> combined([one, {"w": torch.ones(2), "b": torch.ones(1)}], (0.5, 2.0))
    {'w': tensor([2.5000, 2.5000]), 'b': tensor([2.])}
    """
    total: dict[str, Tensor] = {}
    for direction, amount in zip(directions, amounts, strict=True):
        for name, d in direction.items():
            total[name] = total[name] + amount * d if name in total else amount * d
    return total


def _scaled(d: Tensor, w: Tensor) -> Tensor:
    over = tuple(range(1, w.dim()))
    if not over:
        return d.sign() * w.abs()
    wanted, drawn = (torch.linalg.vector_norm(t, dim=over, keepdim=True) for t in (w, d))
    scaled: Tensor = d * (wanted / drawn.clamp_min(torch.finfo(d.dtype).tiny))
    return scaled
