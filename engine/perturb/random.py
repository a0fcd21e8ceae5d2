"""Random numbers that are a function of where they are used, not of what was drawn before.

An element's number depends on (trial seed, step, target, row, column) and on nothing else: not on the
device, the batch it came in, how many workers share the batch, or which trials share a process. A row
is an example's global index for an input, and the first axis of a weight.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

from engine.perturb import hashing


def derive(seed: int, *place: object) -> int:
    """A 63-bit seed for one named use of a trial's seed.

    >>> derive(0, "init") == derive(0, "init") != derive(0, "order", 1)
    True
    """
    text = ":".join(map(str, (seed, *place)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's global generator of the CPU and, on a GPU, of that device.

    ``torch.manual_seed`` would also queue a call with its stack trace for every absent kind of device.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)


def uniform(seed: int, step: int, target: str, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [0, 1) on a 2^-24 grid, float32, of the given shape.

    Args:
        seed, step, target: the trial's seed, the optimisation step, the name of the target.
        rows: the row's identity for each entry along the first axis, int64 (shape[0],).
        shape: shape of the result.
    """
    base = derive(seed, "mask", step, target)
    keys, columns = (base & 0xFFFFFFFF, base >> 32), math.prod(shape[1:])
    if rows.device.type == "cpu":
        bits_RC = torch.from_numpy(hashing.on_host(rows.numpy(), keys, columns))
    else:
        bits_RC = hashing.on_device(rows, keys, columns)
    return bits_RC.to(torch.float32).mul_(2.0**-24).view(shape)


def normal(seed: int, step: int, target: str, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Numbers from N(0, 1), float32, of the given shape; arguments as :func:`uniform`.

    sqrt(2) erfinv(2 u - 1) of uniform numbers u, moved by half a step of their grid so that none is at 0;
    so none is further out than 5.42.
    """
    u = uniform(seed, step, target, rows, shape)
    return u.mul_(2).add_(2.0**-24 - 1).erfinv_().mul_(math.sqrt(2))


def bernoulli(
    seed: int, step: int, target: str, rows: Tensor, shape: tuple[int, ...], p: Tensor | float
) -> Tensor:
    """Mask M with M_ij ~ Bernoulli(p) independently, as booleans of the given shape.

    Source: DropAttack, Algorithm 1, "random attack".

    >>> rows = torch.arange(4)
    >>> m = bernoulli(0, 1, "conv1.weight", rows, (4, 6), 0.5)
    >>> bool((m[2:] == bernoulli(0, 1, "conv1.weight", rows[2:], (2, 6), 0.5)).all())
    True
    """
    return uniform(seed, step, target, rows, shape) < p
