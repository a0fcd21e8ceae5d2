"""Pure functions on named tensors: normalise, step, project, mask.

A perturbation is a short chain of these. ``over`` says what a norm is taken over: ``tensor`` each whole
tensor, ``sample`` each entry along the first axis, ``joint`` all tensors together. Radii are tensors or
numbers that broadcast. ``total`` adds up a squared norm over the workers that share a batch; it is the
identity for tensors that every worker holds whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

Named = Mapping[str, Tensor]
Over = Literal["tensor", "sample", "joint"]
Total = Callable[[Tensor], Tensor]


def same(x: Tensor) -> Tensor:
    """The total over one worker."""
    return x


def norms(g: Named, over: Over, total: Total = same) -> dict[str, Tensor]:
    """L2 norms ||g||, in float32, shaped to broadcast against each tensor."""
    squares = {name: t.float().square() for name, t in g.items()}
    if over == "sample":
        return {n: s.flatten(1).sum(1).sqrt().view(-1, *[1] * (s.dim() - 1)) for n, s in squares.items()}
    sums = {name: total(s.sum()) for name, s in squares.items()}
    if over == "joint":
        joint = torch.stack(list(sums.values())).sum().sqrt()
        return dict.fromkeys(sums, joint)
    return {name: s.sqrt() for name, s in sums.items()}


def normalise(g: Named, over: Over, total: Total = same) -> dict[str, Tensor]:
    """g / ||g||; zero where the norm is zero or not finite, so that such a step perturbs nothing.

    Source: DropAttack, Eq. 6; the released code skips the attack at a zero or NaN norm.

    >>> float(normalise({"w": torch.tensor([3.0, 4.0])}, "tensor")["w"][1])
    0.800000011920929
    """
    result = {}
    for name, norm in norms(g, over, total).items():
        usable = (norm > 0) & norm.isfinite()
        result[name] = torch.where(usable, g[name] / norm, 0.0)
    return result


def project(r: Named, radius: Tensor | float, over: Over, total: Total = same) -> dict[str, Tensor]:
    """The nearest point of the ball ||r|| <= radius: r * min(1, radius / ||r||)."""
    return {
        name: r[name] * (radius / norm.clamp_min(torch.finfo(torch.float32).tiny)).clamp_max(1.0)
        for name, norm in norms(r, over, total).items()
    }


def add(r: Named, step: Named, size: Tensor | float) -> dict[str, Tensor]:
    """r + size * step, r being zero where it is not given."""
    return {name: r[name] + size * s if name in r else size * s for name, s in step.items()}


def mask(r: Named, masks: Named, scale: Tensor | float = 1.0) -> dict[str, Tensor]:
    """scale * M * r."""
    return {name: r[name] * (masks[name] * scale) for name in r}
