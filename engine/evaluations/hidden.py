"""A layer's activations over many examples: sums, extremes and counts, added up over batches and workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.data.examples import Examples
from engine.distributed import Workers
from engine.errors import InputError, did_you_mean
from engine.evaluations.base import Subject
from engine.evaluations.histogram import Row, Span, rows_of
from engine.evaluations.measure import batches, first
from engine.models.dropout import sites
from engine.perturb.targets import logits_of

if TYPE_CHECKING:
    from engine.evaluations.activations import Config


@dataclass(frozen=True)
class Summary:
    """Of all activations h_{i,u}.

    Attributes:
        examples: n. low, high: smallest and largest.
        sums_U: sum over the examples. active_U: number of examples for which the unit is not 0.
    """

    examples: int
    low: float
    high: float
    sums_U: NDArray[np.float64]
    active_U: NDArray[np.float64]

    def means(self) -> NDArray[np.float64]:
        """Mean activation of each unit."""
        return self.sums_U / self.examples

    def metrics(self) -> dict[str, float]:
        """As ``activations`` describes them."""
        return {
            "sparsity": 1 - float(self.active_U.mean()) / self.examples,
            "mean_activation": float(self.means().mean()),
            "max_activation": self.high,
            "dead_units": float((self.active_U == 0).mean()),
        }


@dataclass(frozen=True)
class Hidden:
    """One place of a network, and the examples whose activations are wanted there."""

    network: nn.Module
    module: str
    at_input: bool
    examples: Examples
    workers: Workers

    @staticmethod
    def of(subject: Subject, settings: Config) -> Hidden:
        """As the settings say.

        Raises:
            InputError: no such module.
        """
        network = subject.network
        known = [name for name, _ in network.named_modules() if name]
        module = settings.module or next(iter(sites(network)), "")
        if module not in known:
            legal = did_you_mean(module, known) if module else f"one of {', '.join(known)}"
            raise InputError("module", repr(module), legal)
        examples = first(getattr(subject.data, settings.split), settings.examples)
        if len(examples) < subject.workers.size:
            raise InputError("examples", len(examples), f"one for each of {subject.workers.size} workers")
        return Hidden(network, module, settings.side == "input", examples, subject.workers)

    def summarise(self) -> Summary:
        """The first pass over the examples."""
        sums_U: Tensor | float = 0.0
        active_U: Tensor | float = 0.0
        low, high = float("inf"), -float("inf")
        for h_BU in self._activations():
            sums_U = sums_U + h_BU.double().sum(0)
            active_U = active_U + (h_BU != 0).double().sum(0)
            low, high = min(low, float(h_BU.min())), max(high, float(h_BU.max()))
        assert isinstance(sums_U, Tensor)
        assert isinstance(active_U, Tensor)
        totals = [self.workers.total(t).cpu().numpy() for t in (sums_U, active_U)]
        low, high = self._extremes(low, high)
        if not np.isfinite([low, high]).all():
            raise InputError("module", repr(self.module), "a module with finite activations")
        return Summary(len(self.examples), low, high, *totals)

    def histogram(self, bins: int, span: Span) -> list[Row]:
        """The second pass: counts of all activations between equally spaced edges."""
        counts = np.zeros(bins)
        for h_BU in self._activations():
            counts += np.histogram(h_BU.double().cpu().numpy(), bins, span)[0]
        device = self.workers.device
        total = self.workers.total(torch.tensor(counts, device=device)).long().tolist()
        return rows_of(total, np.histogram_bin_edges(np.zeros(0), bins, span).tolist())

    @torch.no_grad()
    def _activations(self) -> Iterator[Tensor]:
        """h_BU of this worker's batches."""
        units = None
        for chosen_B in batches(self.examples, self.workers):
            batch = self.examples.batch(chosen_B)
            with _caught(self.network.get_submodule(self.module), self.at_input) as caught:
                logits_of(self.network, self.network, batch)
            h = caught[-1] if caught else None
            if not isinstance(h, Tensor) or len(h) != len(batch) or units not in (None, h[0].numel()):
                legal = "a module that is called and gives one tensor (B, ...) of the same shape each time"
                raise InputError("module", repr(self.module), legal)
            units = h[0].numel()
            yield h.flatten(1)

    def _extremes(self, low: float, high: float) -> tuple[float, float]:
        table = torch.zeros(self.workers.size, 2, dtype=torch.float64, device=self.workers.device)
        table[self.workers.rank] = torch.tensor([low, high], dtype=torch.float64)
        table = self.workers.total(table)
        return float(table[:, 0].min()), float(table[:, 1].max())


@contextmanager
def _caught(module: nn.Module, at_input: bool) -> Iterator[list[Any]]:
    """What goes into a module, or comes out of it, inside the block."""
    caught: list[Any] = []

    def look(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        caught.append((inputs[0] if inputs else None) if at_input else output)

    handle = module.register_forward_hook(look)
    try:
        yield caught
    finally:
        handle.remove()
