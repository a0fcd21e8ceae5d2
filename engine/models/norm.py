"""Batch normalisation of the mean alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MeanOnlyBatchNorm2d(nn.Module):
    """y = weight (x - m) + bias, with m the mean over batch and pixels, for each channel.

    In train mode m is the batch's mean, through which gradients flow, and

        running_mean  <-  (1 - momentum) running_mean + momentum m;

    in eval mode m is the running mean. As in torch's layers, setting ``track_running_stats`` to False
    afterwards keeps the running mean as it is and changes no output. Sums are in float32 at least.

    Args:
        num_features: number of channels C. momentum: weight of the newest mean, in [0, 1].

    Source: Salimans and Kingma (NeurIPS 2016), section 4, without weight normalisation and with the scale
    kept, as the adversarial-dropout experiments on CIFAR-10 have it.
    """

    running_mean: Tensor

    def __init__(self, num_features: int, momentum: float = 0.1):
        super().__init__()
        self.num_features, self.momentum = num_features, momentum
        self.track_running_stats = True
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The normalised x, of the same shape and type."""
        mean_C = self._batch_mean(x_BCHW) if self.training else self.running_mean
        weight_C11, mean_C11, bias_C11 = (t[:, None, None] for t in (self.weight, mean_C, self.bias))
        return torch.addcmul(bias_C11, x_BCHW - mean_C11, weight_C11).to(x_BCHW.dtype)

    def _batch_mean(self, x_BCHW: Tensor) -> Tensor:
        """The mean_C of this batch; updates the running mean."""
        wide = torch.promote_types(x_BCHW.dtype, torch.float32)
        sum_C, count = self._reduce(x_BCHW.sum((0, 2, 3), dtype=wide), x_BCHW[:, 0].numel())
        mean_C = sum_C / count
        if self.track_running_stats:
            with torch.no_grad():
                self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), self.momentum)
        return mean_C

    def _reduce(self, sum_C: Tensor, count: int) -> tuple[Tensor, Tensor | int]:
        """Sum and number of the values of each channel over all workers, differentiable in ``sum_C``.

        One worker's are its own; whoever shares a batch out replaces this method.
        """
        return sum_C, count

    def extra_repr(self) -> str:
        """Shown by ``print(network)``."""
        return f"{self.num_features}, momentum={self.momentum}"
