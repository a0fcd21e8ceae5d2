"""Batch normalisation over a batch that several workers share, and of the mean alone.

The workers' statistics are those of the global batch, through a differentiable sum over the workers: the
gradient of a worker's loss reaches the other workers' examples, as it does within one batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
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
        self.shared = False
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

        One worker's are its own.
        """
        if not self.shared:
            return sum_C, count
        counted = _SumOverWorkers.apply(torch.cat([sum_C, sum_C.new_full((1,), count)]))
        return counted[:-1], counted[-1].detach().clamp_min(1)

    def extra_repr(self) -> str:
        """Shown by ``print(network)``."""
        return f"{self.num_features}, momentum={self.momentum}"


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over all workers' examples, for devices without a kernel of SyncBatchNorm.

        m = sum x / n,   s^2 = sum (x - m)^2 / n,   y = weight (x - m) / sqrt(s^2 + eps) + bias

    with sums over all workers; the running variance takes n / (n - 1) s^2, as in torch. A worker without
    examples takes part with n = 0.

    Source: Ioffe and Szegedy (ICML 2015), Algorithm 1.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any input of two dimensions or more is taken."""

    def forward(self, input: Tensor) -> Tensor:
        """The normalised input (B, C, ...), of the same shape and type."""
        if not self.training:
            plain: Tensor = super().forward(input)
            return plain
        others = [d for d in range(input.dim()) if d != 1]
        shape = [1, -1] + [1] * (input.dim() - 2)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        count = x.new_full((1,), x.numel() // max(x.shape[1], 1))
        summed = _SumOverWorkers.apply(torch.cat([x.sum(others), count]))
        n = summed[-1].detach().clamp_min(1)
        mean_C = summed[:-1] / n
        centred = x - mean_C.view(shape)
        var_C = _SumOverWorkers.apply(centred.square().sum(others)) / n
        if self.track_running_stats:
            self._track(mean_C.detach(), var_C.detach(), n)
        y = centred * (var_C + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        normalised: Tensor = y.to(input.dtype)
        return normalised

    @torch.no_grad()
    def _track(self, mean_C: Tensor, var_C: Tensor, n: Tensor) -> None:
        """Move the running statistics; without a momentum they are the means over all batches."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        weight: Tensor | float = self.momentum or 0.0
        if self.momentum is None:
            weight = self.num_batches_tracked.to(self.running_mean.dtype).reciprocal()
        unbiased_C = var_C * (n / (n - 1).clamp_min(1))
        self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), weight)
        self.running_var.lerp_(unbiased_C.to(self.running_var.dtype), weight)


class _SumOverWorkers(torch.autograd.Function):
    """y = sum over the workers of x; dL/dx = sum over the workers of dL/dy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


NORMS = (nn.modules.batchnorm._BatchNorm, MeanOnlyBatchNorm2d)
"""Layers whose train-mode output depends on the whole batch, and which keep running statistics."""


def synchronise(network: nn.Module, device: torch.device) -> None:
    """Make every batch normalisation of the network, in place, one over the workers' global batch.

    Torch's SyncBatchNorm on GPUs, :class:`GlobalBatchNorm` elsewhere; parameters, buffers and names stay.
    """
    kind = nn.SyncBatchNorm if device.type == "cuda" else GlobalBatchNorm
    for module in list(network.modules()):
        if isinstance(module, MeanOnlyBatchNorm2d):
            module.shared = True
        for name, child in module.named_children():
            if isinstance(child, nn.modules.batchnorm._BatchNorm) and type(child) is not kind:
                setattr(module, name, _as(kind, child))


def _as(kind: type[nn.Module], layer: nn.modules.batchnorm._BatchNorm) -> nn.Module:
    shared = kind(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    shared.train(layer.training)
    for name, parameter in layer.named_parameters():
        setattr(shared, name, parameter)
    for name, buffer in layer.named_buffers():
        setattr(shared, name, buffer)
    return shared
