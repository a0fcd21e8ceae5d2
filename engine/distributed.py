"""The workers that share one trial's batch, and the sums that they need.

The result is the same for 1 worker and for n at equal global batch. Each of the n workers takes a
contiguous share of every global batch and scales its summed loss by n / (global batch), so that the mean
which DistributedDataParallel takes over the workers is the gradient of the global mean loss.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from engine.models.norm import synchronise

CPU = torch.device("cpu")

TIMEOUT = timedelta(minutes=5)
"""A worker that waits longer for the others raises instead of hanging."""


@dataclass(frozen=True)
class Workers:
    """This process's place among the workers of a trial.

    Attributes:
        rank: 0 ... size - 1; rank 0 reports and writes.
        size: number of workers.
        device: where this worker's tensors live.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    def share(self, global_batch: Tensor) -> Tensor:
        """This worker's part of a global batch of positions (B,); contiguous, nearly equal parts."""
        return global_batch.tensor_split(self.size)[self.rank] if self.size > 1 else global_batch

    def total(self, x: Tensor) -> Tensor:
        """Sum over the workers, on all of them; in place where there are several."""
        if self.size > 1:
            dist.all_reduce(x)
        return x

    def mean(self, x: Tensor) -> Tensor:
        """Mean over the workers, on all of them."""
        if self.size == 1:
            return x
        # Layouts can differ between workers (an empty batch's gradient), while sums go by place in memory.
        return self.total(x.clone(memory_format=torch.contiguous_format)).div_(self.size)

    def agree(self, value: int) -> int:
        """Rank 0's value, on all workers."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], device=self.device)
        dist.broadcast(shared, src=0)
        return int(shared.item())

    def wrap(self, network: nn.Module) -> nn.Module:
        """What computes a loss of the network: called as ``wrapped(compute)``, returns ``compute()``.

        Behind DistributedDataParallel when shared: one call, and so one forward for it, whatever number
        of times ``compute`` calls the network. Buffers are not broadcast before a forward: an earlier
        train-mode forward of the same backward has saved them, and on CUDA the copy would invalidate its
        graph (on a CPU it passes unnoticed). They are equal on all workers without it, since BatchNorm's
        statistics are taken over the global batch (:mod:`engine.models.norm`).
        """
        joint = Joint(network)
        if self.size == 1:
            return joint
        synchronise(network, self.device)
        ids = [self.device.index or 0] if self.device.type == "cuda" else None
        return DistributedDataParallel(joint, device_ids=ids, broadcast_buffers=False)


class Joint(nn.Module):
    """A network behind a call that takes what is to be computed of it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, compute: Callable[[], Tensor]) -> Tensor:
        """``compute()``, which calls the network as often as it needs to."""
        return compute()


def unsynchronised(forward: nn.Module) -> Any:
    """A pass inside this block adds to the local gradients and leaves averaging to a later pass."""
    return forward.no_sync() if isinstance(forward, DistributedDataParallel) else nullcontext()


def default_device(index: int = 0) -> torch.device:
    """The GPU at hand, else the CPU."""
    return torch.device("cuda", index) if torch.cuda.is_available() else CPU


@contextmanager
def group(
    rank: int, size: int, address: str, device: torch.device = CPU, timeout: timedelta = TIMEOUT
) -> Iterator[Workers]:
    """A process group of ``size`` workers that meet at ``address`` (``tcp://host:port``).

    NCCL on GPUs, gloo on CPUs. Models and optimisers must be gone before the block ends: gloo aborts
    when DistributedDataParallel outlives its group.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=address, rank=rank, world_size=size, timeout=timeout)
    try:
        yield Workers(rank, size, device)
    finally:
        dist.destroy_process_group()


@contextmanager
def from_environment() -> Iterator[Workers]:
    """The workers that ``torchrun`` started, or this process alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Workers(device=default_device())
        return
    device = default_device(int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with group(int(os.environ["RANK"]), size, "env://", device) as workers:
        yield workers
