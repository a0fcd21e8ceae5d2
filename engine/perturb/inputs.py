"""Attacks on an input tensor: each example in its own ball, by projected gradient ascent.

What is ascended is given as a function from r to the gradient of the *sum* of the examples' losses, whose
rows are the examples' own gradients. Steps depend on signs and directions alone, so that neither the
workers' number nor a loss scale changes them. The same functions serve training and evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.perturb import chain
from engine.perturb.random import bernoulli, normal, uniform
from engine.perturb.targets import clamped
from engine.slots.attack import Attack, Norm, Range, Virtual

Gradient = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Draw:
    """Where an attack's random numbers come from.

    Attributes:
        seed: of the trial or the evaluation. step: of the optimiser, or the number of a restart.
        rows: identity of each example, int64 (B,).
    """

    seed: int
    step: int
    rows: Tensor


def ascend(
    settings: Attack, x: Tensor, gradient: Gradient, draw: Draw, inside: Tensor | None = None
) -> Tensor:
    """r after K steps from the start; x + r has the range that the settings ask for.

    Args:
        settings: norm, radius, steps, start and mask. x: clean inputs (B, ...).
        gradient: grad_r of the summed loss at x + r, shaped as x. No clamp belongs into that pass: rounding
            leaves x + r just outside its range, where a clamp has no gradient.
        inside: where there is something to perturb, bool (False on the padding of a text, which else took
            part of the ball and made r depend on the batch); broadcasts to x. None perturbs all of it.

    >>> import torch
    >>> x, draw = torch.full((1, 2), 0.5), Draw(0, 0, torch.arange(1))
    >>> fgsm = Attack(kind="attack", epsilon=0.1, steps=1, start="zero")
    >>> ascend(fgsm, x, lambda r: torch.tensor([[3.0, -2.0]]), draw)
    tensor([[ 0.1000, -0.1000]])
    """
    r = within(start(settings, x, draw, inside), x, settings.norm, settings.epsilon, settings.clamp)
    mask = None
    if settings.p < 1:
        mask = bernoulli(draw.seed, draw.step, "attack", draw.rows, tuple(x.shape), settings.p)
        r = r * mask
    for _ in range(settings.steps):
        move = settings.alpha * direction(_kept(gradient(r), inside), settings.norm)
        r = r + (move if mask is None else move * mask)
        r = within(r, x, settings.norm, settings.epsilon, settings.clamp)
    return r


def direction(g: Tensor, norm: Norm) -> Tensor:
    """Steepest ascent of unit length: sign(g), or g / ||g||_2 for each example; 0 where g is 0 or not finite.

    A gradient that overflowed in half precision thus moves nothing.
    """
    if norm == "linf":
        return torch.where(g.abs() < math.inf, g.sign(), 0.0)  # isfinite, in half as many passes over g
    return chain.normalise({"r": g}, "sample")["r"]


def within(r: Tensor, x: Tensor, norm: Norm, epsilon: float | Tensor, clamp: Range | None) -> Tensor:
    """r projected onto the ball of each example, then x + r onto the range (see :func:`clamped`)."""
    box: Any = epsilon  # clamp's stubs tell two numbers from two tensors
    r = r.clamp(-box, box) if norm == "linf" else chain.project({"r": r}, epsilon, "sample")["r"]
    return r if clamp is None else clamped(x + r, x, clamp) - x


def start(settings: Attack, x: Tensor, draw: Draw, inside: Tensor | None = None) -> Tensor:
    """The first r, a function of (seed, step, example)."""
    shape, size = tuple(x.shape), settings.start_size
    if settings.start == "zero":
        return torch.zeros_like(x)
    if settings.start == "gaussian":
        return _kept(size * normal(draw.seed, draw.step, "start", draw.rows, shape).to(x), inside)
    if settings.norm == "linf":
        u = uniform(draw.seed, draw.step, "start", draw.rows, shape).to(x)
        return _kept(size * settings.epsilon * (2 * u - 1), inside)
    random = _kept(normal(draw.seed, draw.step, "start", draw.rows, shape), inside)
    d = chain.normalise({"r": random}, "sample")["r"]
    radius_B1 = uniform(draw.seed, draw.step, "radius", draw.rows, (len(x), 1))
    return (size * settings.epsilon * d * radius_B1.view(-1, *[1] * (x.dim() - 1))).to(x)


def spread(draw: Draw, shape: tuple[int, ...], size: float, inside: Tensor | None = None) -> Tensor:
    """r uniform in (-1, 1) * size / sqrt(n) over each example's n elements, so that ||r||_2 <= size.

    Source: FreeLB's released code, for the start of its ascent.
    """
    u = 2 * uniform(draw.seed, draw.step, "start", draw.rows, shape) - 1
    if inside is None:
        return u * (size / math.sqrt(math.prod(shape[1:])))
    filled_B11 = inside.sum((1, 2), keepdim=True) * shape[-1]
    spread_out: Tensor = u * inside * (size / filled_B11.sqrt())
    return spread_out


def virtual(
    settings: Virtual, x: Tensor, gradient: Gradient, draw: Draw, inside: Tensor | None = None
) -> Tensor:
    """The virtual adversarial perturbation epsilon d.

    Args:
        gradient: grad_r KL(f(x) || f(x + r)), summed over the examples. inside: as of :func:`ascend`.
    """
    random = normal(draw.seed, draw.step, "virtual", draw.rows, tuple(x.shape)).to(x)
    d = chain.normalise({"r": _kept(random, inside)}, "sample")["r"]
    for _ in range(settings.iterations):
        d = chain.normalise({"r": _kept(gradient(settings.xi * d), inside)}, "sample")["r"]
    r = settings.epsilon * d
    return r if settings.clamp is None else clamped(x + r, x, settings.clamp) - x


def _kept(r: Tensor, inside: Tensor | None) -> Tensor:
    """r, and 0 outside of what may be perturbed."""
    return r if inside is None else torch.where(inside, r, 0.0)
