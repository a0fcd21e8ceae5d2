"""What a method carries over from step to step; part of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.distributed import Workers


@dataclass
class State:
    """Tensors by what they are for; all equal on all workers between steps, but for ``current``.

    Attributes:
        replay: perturbation r_B... of free adversarial training, by place in the global batch.
        ensemble: Z_NC, moving average of the predictions of each training example.
        current: this epoch's predictions so far, of this worker's examples (N, C).
        epochs: epochs that ``ensemble`` holds.
        picked: place of each training example among the attacked ones of this epoch, -1 for the others.
        frozen: the perturbations of the attacked ones, where they are made at the start of an epoch.
    """

    replay: Tensor | None = None
    ensemble: Tensor | None = None
    current: Tensor | None = None
    epochs: int = 0
    picked: Tensor | None = None
    frozen: Tensor | None = None
    size: int = field(default=0, repr=False)

    def note(self, places_B: Tensor, logits_BC: Tensor) -> None:
        """Keep this epoch's prediction of some examples."""
        if self.current is None:
            self.current = torch.zeros(self.size, logits_BC.shape[1], device=logits_BC.device)
        self.current[places_B] = logits_BC.detach().float().softmax(1)

    def ensemble_logits(self, places_B: Tensor, natural_BC: Tensor, momentum: float) -> Tensor:
        """log of Z / (1 - alpha^t), the bias-corrected average; the prediction itself in the first epoch."""
        if self.ensemble is None:
            return natural_BC.detach()
        average_BC = self.ensemble[places_B] / (1 - momentum**self.epochs)
        return average_BC.clamp_min(1e-12).log()

    def close_epoch(self, momentum: float, workers: Workers) -> None:
        """Z <- alpha Z + (1 - alpha) z.

        Source: Laine and Aila (2017), Algorithm 2.
        """
        if self.current is None:
            return
        z_NC = workers.total(self.current)
        held = self.ensemble if self.ensemble is not None else torch.zeros_like(z_NC)
        self.ensemble = momentum * held + (1 - momentum) * z_NC
        self.current, self.epochs = None, self.epochs + 1

    def saved(self, workers: Workers) -> dict[str, Tensor | int]:
        """For a checkpoint, written by rank 0: what all workers hold of the epoch under way, together."""
        found: dict[str, Tensor | int] = {name: t for name, t in vars(self).items() if isinstance(t, Tensor)}
        if self.current is not None:
            found["current"] = workers.total(self.current.clone())
        return {**found, "epochs": self.epochs}

    def restore(self, saved: dict[str, Tensor | int], workers: Workers) -> None:
        """Take up what :meth:`saved` returned; rank 0 takes the epoch's predictions of all workers."""
        for name, value in saved.items():
            setattr(self, name, value)
        if workers.rank and self.current is not None:
            self.current = torch.zeros_like(self.current)
