"""Weight perturbations whose size is relative to the weights: pure functions on named tensors.

A layer l is one named tensor; its norms are taken over all of its elements. Norms and results are in
float64 for float64 weights and in float32 for all others: half precision overflows in the sum of squares,
and a perturbation of 0.01 ||w_l|| spread over many elements is lost in it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from engine.perturb.chain import Named
from engine.perturb.random import normal

SizeNorm = Literal["l2", "l1"]


def sizes(t: Named, size_norm: SizeNorm = "l2") -> dict[str, Tensor]:
    """||t_l|| of each tensor, of no dimension.

    >>> sizes({"w": torch.tensor([3.0, -4.0])}), sizes({"w": torch.tensor([3.0, -4.0])}, "l1")
    ({'w': tensor(5.)}, {'w': tensor(7.)})
    """
    wide = {name: _wide(x) for name, x in t.items()}
    if size_norm == "l1":
        return {name: x.abs().sum() for name, x in wide.items()}
    return {name: x.square().sum().sqrt() for name, x in wide.items()}


def relative_step(
    v: Named, g: Named, w: Named, eta: Tensor | float, size_norm: SizeNorm = "l2"
) -> dict[str, Tensor]:
    """v_l + eta g_l / ||g_l|| * ||w_l||: one ascent step of the adversarial weight perturbation.

    Args:
        v: the perturbation so far; zero for the tensors that it does not hold.
        g: gradient of the loss with respect to the perturbed weights; its tensors are the ones that move.
            A layer whose gradient has a norm of zero, or one that is not finite, keeps its v.
        w: the weights themselves, unperturbed. eta: size of the step, relative to them.

    Source: AWP, Eq. 10, carried out layer by layer (appendix D.2).

    >>> w, g = {"w": torch.tensor([3.0, 4.0])}, {"w": torch.tensor([0.0, -2.0])}
    >>> relative_step({}, g, w, 0.5)["w"]
    tensor([ 0.0000, -2.5000])
    """
    unit = _directions(g, size_norm)
    scale = sizes(w, size_norm)
    step = {name: eta * scale[name] * u for name, u in unit.items()}
    return {name: _wide(v[name]) + s if name in v else s for name, s in step.items()}


def project(v: Named, w: Named, gamma: Tensor | float, size_norm: SizeNorm = "l2") -> dict[str, Tensor]:
    """v_l scaled back onto the ball where it is outside: v_l min(1, gamma ||w_l|| / ||v_l||).

    Under ``l1`` this scales onto the ball too, as the paper writes it; the nearest point would be another.

    Source: AWP, Eq. 15.

    >>> w = {"w": torch.tensor([3.0, 4.0])}
    >>> project({"w": torch.tensor([2.0, 0.0])}, w, 0.1)["w"]
    tensor([0.5000, 0.0000])
    """
    radius = {name: gamma * size for name, size in sizes(w, size_norm).items()}
    result = {}
    for name, norm in sizes(v, size_norm).items():
        tiny = torch.finfo(norm.dtype).tiny
        result[name] = _wide(v[name]) * (radius[name] / norm.clamp_min(tiny)).clamp_max(1.0)
    return result


def random_relative(w: Named, gamma: Tensor | float, seed: int, step: int) -> dict[str, Tensor]:
    """v_l = gamma ||w_l|| d_l / ||d_l|| with d ~ N(0, 1): the random weight perturbation.

    d is a function of (seed, step, name of the tensor, place in it), the same on every worker.

    Source: AWP, section 5.3.

    >>> v = random_relative({"w": torch.ones(4, 25)}, 0.1, seed=0, step=3)
    >>> round(float(v["w"].norm()), 4)
    1.0
    """
    d = {name: _gaussian(name, x, seed, step) for name, x in w.items()}
    return relative_step({}, d, w, gamma)


def _gaussian(name: str, w: Tensor, seed: int, step: int) -> Tensor:
    rows = torch.arange(w.shape[:1].numel(), device=w.device)
    return normal(seed, step, f"rwp:{name}", rows, tuple(w.shape)).to(_wide(w).dtype)


def _directions(g: Named, size_norm: SizeNorm) -> dict[str, Tensor]:
    """g_l / ||g_l||, or zero."""
    result = {}
    for name, norm in sizes(g, size_norm).items():
        usable = (norm > 0) & norm.isfinite()
        result[name] = torch.where(usable, _wide(g[name]) / norm, 0.0)
    return result


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
