"""Forward and backward passes of one network: the only place where gradients are asked for in training.

It decides what every method needs to agree on: where random masks come from, whether BatchNorm's running
statistics move, the precision, and when workers exchange gradients. A pass that is learnt from makes one
call of the workers' wrapper, whatever number of forward passes its objective takes, so that
DistributedDataParallel sees one forward for one backward by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from engine.data.examples import Batch
from engine.distributed import Workers, unsynchronised
from engine.models.base import INPUT
from engine.models.dropout import Noise, noisy, sites
from engine.models.norm import NORMS
from engine.objective import Value
from engine.perturb.targets import captured, logits_of

Precision = Literal["float32", "bf16", "fp16"]
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Passes:
    """One network as a step uses it.

    Args:
        network: the bare network, on its device. workers: who share each batch.
        precision: of the forward and backward passes; parameters, norms and updates stay float32.
    """

    def __init__(self, network: nn.Module, workers: Workers, precision: Precision = "float32"):
        self.network, self.workers = network, workers
        self.joint = workers.wrap(network)
        self.norms = tuple(m for m in network.modules() if isinstance(m, NORMS))
        self.drops = any(site.p > 0 for site in sites(network).values())
        self.half: torch.dtype | None = HALF.get(precision)
        self.scaler = torch.amp.GradScaler(workers.device.type, enabled=precision == "fp16")

    def autocast(self) -> AbstractContextManager[Any]:
        """Entered for each forward pass anew: its cache of half-precision weights must not outlive them."""
        if self.half is None:
            return nullcontext()
        return torch.autocast(self.workers.device.type, self.half)

    def logits(
        self, batch: Batch, view: int = 0, r: Tensor | None = None, clamp: tuple[float, float] | None = None
    ) -> Tensor:
        """logits_BC, float32 also where the passes are not, so that no loss overflows."""
        with self.autocast():
            found = logits_of(self.network, self.network, batch, r, clamp, view)
        return found if self.half is None else found.float()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Float32 inside the block, for differences that half precision would lose."""
        half, self.half = self.half, None
        try:
            yield
        finally:
            self.half = half

    def noise(self, noise: Noise) -> AbstractContextManager[None]:
        """Dropout draws its masks from ``noise`` inside the block."""
        return noisy(self.network, noise) if self.drops else nullcontext()

    @contextmanager
    def frozen(self, yes: bool = True) -> Iterator[None]:
        """Running statistics stay as they are inside the block; batch statistics are used all the same."""
        moving = [m for m in self.norms if m.track_running_stats] if yes else []
        for module in moving:
            module.track_running_stats = False
        try:
            yield
        finally:
            for module in moving:
                module.track_running_stats = True

    def learn(
        self, compute: Callable[[], Value], scale: float, names: tuple[str, ...], sync: bool
    ) -> tuple[Value, dict[str, Tensor]]:
        """Add grad (scale * L) to ``.grad``; returns L and the gradients of ``names`` that this pass brought.

        Args:
            compute: the objective. sync: average ``.grad`` over the workers with this pass.
        """
        found: list[Value] = []

        def once() -> Tensor:
            found.append(compute())
            return found[0].total

        with nullcontext() if sync else unsynchronised(self.joint):
            total = self.joint(once)
            with captured(self.network, names) as gradients:
                self.scaled(total * scale).backward()  # type: ignore[no-untyped-call]
        return found[0], gradients

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss times the loss scale of half precision."""
        return self.scaler.scale(loss) if self.scaler.is_enabled() else loss

    def summed(self, lost_B: Tensor) -> Tensor:
        """The sum, of which each example's own perturbation takes its gradient.

        The loss scale is one for means: it would take the gradients of single examples out of range, and
        their attacks would stand still. Directions do not depend on the factor.
        """
        return self.scaled(lost_B.sum() / len(lost_B)) if self.scaler.is_enabled() else lost_B.sum()

    def probe(self, loss: Tensor, names: tuple[str, ...], r: Tensor | None = None) -> dict[str, Tensor]:
        """Gradients of the targets alone, leaving ``.grad`` as it is."""
        leaves: dict[str, Tensor] = {n: self.network.get_parameter(n) for n in names}
        if r is not None:
            leaves[INPUT] = r
        grads = torch.autograd.grad(self.scaled(loss), list(leaves.values()))
        return dict(zip(leaves, grads, strict=True))
