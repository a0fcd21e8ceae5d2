"""Dropout whose masks are a function of (seed, step, branch, site, example), and its sites in a network.

Torch's own dropout draws from one generator in the order of the calls, so that its masks change with the
number of workers, with how a batch is split and with every further forward pass. Here an example has its
mask wherever it is trained on, several passes of a step can share one, and a method can put its own mask
in the place of the random one (adversarial dropout).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.perturb.random import bernoulli


@dataclass(frozen=True)
class Noise:
    """Where the random masks of a pass come from.

    Attributes:
        seed: the trial's seed. step: number of the optimisation step.
        rows: identity of each example of the batch, int64 (B,), on the network's device.
        branch: passes of one step with the same branch have the same masks.
    """

    seed: int
    step: int
    rows: Tensor
    branch: int = 0


class Dropout(nn.Module):
    """h * M / (1 - p) in train mode with M ~ Bernoulli(1 - p); h in eval mode.

    Args:
        p: probability that an element is dropped, in [0, 1).

    Attributes:
        name: the site's name in its network, set by :func:`sites`.
        noise: where M comes from; None draws from torch's generator.
        mask: used in place of M / (1 - p), in both modes; None draws. Broadcasts against h.
        recording: whether the shape of h and the M of the last pass are kept, as ``shape`` and ``drawn``.

    Source: Srivastava et al. (JMLR 2014).
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p
        self.name = ""
        self.noise: Noise | None = None
        self.mask: Tensor | None = None
        self.recording = False
        self.shape: tuple[int, ...] = ()
        self.drawn: Tensor | None = None

    def forward(self, h: Tensor) -> Tensor:
        """The masked h, of any shape (B, ...)."""
        if self.recording:
            self.shape, self.drawn = tuple(h.shape), None
        if self.mask is not None:
            return h * self.mask
        if not self.training or self.p == 0:
            return h
        if self.noise is None:
            return nn.functional.dropout(h, self.p)
        kept: Tensor = self.draw(h)
        return h * kept * (1 / (1 - self.p))

    def draw(self, h: Tensor) -> Tensor:
        """M for h, bool."""
        assert self.noise is not None
        noise, place = self.noise, f"dropout:{self.name}:{self.noise.branch}"
        kept = bernoulli(noise.seed, noise.step, place, noise.rows, tuple(h.shape), 1 - self.p)
        if self.recording:
            self.drawn = kept
        return kept

    def extra_repr(self) -> str:
        """Shown by ``print(network)``."""
        return f"p={self.p}"


def compiled(network: nn.Module) -> None:
    """Compile a network in place; the masks of its sites are drawn outside of what is compiled."""
    _hide_masks()
    network.compile()


@functools.cache
def _hide_masks() -> None:
    """The step's number would be compiled in. Not at import: this loads the compiler, which takes 2 s."""
    Dropout.draw = torch.compiler.disable(Dropout.draw)  # type: ignore[method-assign, no-untyped-call]


def sites(network: nn.Module) -> dict[str, Dropout]:
    """The dropout sites of a network by their names.

    >>> list(sites(nn.Sequential(nn.Linear(2, 2), Dropout(0.5))))
    ['1']
    """
    found = {name: module for name, module in network.named_modules() if isinstance(module, Dropout)}
    for name, site in found.items():
        site.name = name
    return found


@contextmanager
def noisy(network: nn.Module, noise: Noise) -> Iterator[None]:
    """Inside the block every site draws its mask from ``noise``."""
    found = sites(network).values()
    before = [site.noise for site in found]
    for site in found:
        site.noise = noise
    try:
        yield
    finally:
        for site, held in zip(found, before, strict=True):
            site.noise = held


@contextmanager
def masked(network: nn.Module, masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside the block the named sites use these masks in place of random ones."""
    if not masks:
        yield
        return
    found = sites(network)
    for name, mask in masks.items():
        found[name].mask = mask
    try:
        yield
    finally:
        for name in masks:
            found[name].mask = None


@contextmanager
def recorded(site: Dropout) -> Iterator[None]:
    """Inside the block the site keeps the shape it sees and the mask it draws."""
    site.recording = True
    try:
        yield
    finally:
        site.recording = False
