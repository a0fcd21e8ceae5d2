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

GOLDEN = -1640531527  # 2^32 / golden ratio as int32: neighbouring columns land far apart
_MIX = (0x7FEB352D, -2073254261)  # multipliers of a 32-bit finaliser; the second is 0x846CA68B


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
    high, low = base >> 32, base & 0xFFFFFFFF
    # Each row has two 32-bit keys, so that two rows with one equal key still differ.
    first_R = _mix(_int32(rows) ^ _signed(low))
    second_R = _mix(first_R + _int32(rows >> 32) * GOLDEN + _signed(high))
    columns = math.prod(shape[1:])
    x_RC = torch.arange(columns, dtype=torch.int32, device=rows.device).mul_(GOLDEN)
    x_RC = _mix(x_RC.unsqueeze(0) ^ first_R.unsqueeze(1)) ^ second_R.unsqueeze(1)
    bits_RC = _mix(x_RC).bitwise_right_shift_(8).bitwise_and_(0xFFFFFF)
    return bits_RC.to(torch.float32).mul_(2.0**-24).view(shape)


def normal(seed: int, step: int, target: str, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Numbers from N(0, 1), float32, by the inverse of the normal distribution; arguments as :func:`uniform`.

    The largest is 5.4 in size, since the uniform numbers behind them lie on a grid.
    """
    middle = uniform(seed, step, target, rows, shape) + 2.0**-25
    drawn: Tensor = torch.special.ndtri(middle)
    return drawn


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


def _mix(x: Tensor) -> Tensor:
    """A bijection of int32 that lets every input bit change every output bit with chance near 1/2."""
    x = x ^ (x.bitwise_right_shift(16) & 0xFFFF)
    x = x.mul_(_MIX[0])
    x ^= x.bitwise_right_shift(15) & 0x1FFFF
    x = x.mul_(_MIX[1])
    x ^= x.bitwise_right_shift(16) & 0xFFFF
    return x


def _int32(x: Tensor) -> Tensor:
    """The low 32 bits of int64, as int32."""
    low = x & 0xFFFFFFFF
    return torch.where(low >= 2**31, low - 2**32, low).to(torch.int32)


def _signed(x: int) -> int:
    return x - 2**32 if x >= 2**31 else x
