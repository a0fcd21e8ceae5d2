"""What a method carries over from step to step; part of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.distributed import Workers


@dataclass
class State:
    """Tensors by what they are for; all equal on all workers between steps, but for ``current``.

    Attributes:
        size: number of training examples, labelled and unlabelled.
        replay: perturbation r_B... of free adversarial training, by place in the global batch.
        ensemble: Z_NC, moving average of the predictions of each training example.
        updates: how many epochs each row of it holds, (N, 1).
        current: sum of this epoch's predictions so far, of this worker's examples, float64 (N, C).
        picked: place of each training example among the attacked ones of this epoch, -1 for the others; on
            the CPU.
        frozen: the perturbations of the attacked ones, where they are made at the start of an epoch.
    """

    size: int = 0
    replay: Tensor | None = None
    ensemble: Tensor | None = None
    updates: Tensor | None = None
    current: Tensor | None = None
    picked: Tensor | None = None
    frozen: Tensor | None = None

    def note(self, places_B: Tensor, logits_BC: Tensor) -> None:
        """Keep this epoch's predictions of some examples."""
        if self.current is None:
            shape = (self.size, logits_BC.shape[1])
            # Sums of a few float32 numbers are exact in float64, in whatever order the workers add them.
            self.current = torch.zeros(shape, dtype=torch.float64, device=logits_BC.device)
        self.current.index_add_(0, places_B, logits_BC.detach().float().softmax(1).double())

    def ensemble_logits(self, places_B: Tensor, natural_BC: Tensor, momentum: float) -> Tensor:
        """log of Z / (1 - alpha^t), the bias-corrected average; the prediction itself where t = 0."""
        if self.ensemble is None or self.updates is None:
            return natural_BC.detach()
        times_B1 = self.updates[places_B]
        average_BC = self.ensemble[places_B] / (1 - momentum**times_B1).clamp_min(1e-12)
        held_BC = average_BC.clamp_min(1e-12).log()
        return torch.where(times_B1 > 0, held_BC, natural_BC.detach())

    def close_epoch(self, momentum: float, workers: Workers) -> None:
        """Z <- alpha Z + (1 - alpha) z for the examples that this epoch saw.

        Source: Laine and Aila (2017), Algorithm 2.
        """
        if self.current is None:
            return
        z_NC = workers.total(self.current).float()
        seen_N1 = z_NC.sum(1, keepdim=True)
        if self.ensemble is None or self.updates is None:
            self.ensemble, self.updates = torch.zeros_like(z_NC), torch.zeros_like(seen_N1)
        moved = momentum * self.ensemble + (1 - momentum) * z_NC / seen_N1.clamp_min(0.5)
        self.ensemble = torch.where(seen_N1 > 0.5, moved, self.ensemble)
        self.updates = self.updates + (seen_N1 > 0.5)
        self.current = None

    def saved(self, workers: Workers) -> dict[str, Tensor]:
        """For a checkpoint, written by rank 0: what all workers hold of the epoch under way, together."""
        found = {name: t for name, t in vars(self).items() if isinstance(t, Tensor)}
        if self.current is not None:
            found["current"] = workers.total(self.current.clone())
        return found

    def restore(self, saved: dict[str, Tensor], workers: Workers) -> None:
        """Take up what :meth:`saved` returned; rank 0 takes the epoch's predictions of all workers."""
        for name, value in saved.items():
            setattr(self, name, value.cpu() if name == "picked" else value)
        if workers.rank and self.current is not None:
            self.current = torch.zeros_like(self.current)
