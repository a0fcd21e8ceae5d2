"""Twenty-four random bits for each place of a matrix, computed from the place alone.

    a_i  = mix(low(i) ^ k_0),    b_i = mix(a_i + high(i) G + k_1)
    x_ij = mix(mix(j G ^ a_i) ^ b_i) >> 8                             all modulo 2^32

Two implementations that agree in every bit: NumPy has unsigned whole numbers and is four times as fast on
a CPU; torch has them on a device, as signed ones whose shifts have to be masked.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GOLDEN = 0x9E3779B9  # 2^32 / golden ratio: neighbouring columns land far apart
MIX = (0x7FEB352D, 0x846CA68B)  # multipliers of a 32-bit finaliser

Keys = tuple[int, int]


def on_host(rows_R: NDArray[np.int64], keys: Keys, columns: int) -> NDArray[np.int32]:
    """x_RC in 0 ... 2^24 - 1.

    Args:
        rows_R: identity i of each row. keys: k_0 and k_1, below 2^32. columns: their number.
    """
    first, second = (np.uint32(key) for key in keys)
    # Each row has two 32-bit keys, so that two rows with one equal key still differ.
    first_R = _mix_host(rows_R.astype(np.uint32) ^ first)
    second_R = _mix_host(first_R + (rows_R >> 32).astype(np.uint32) * np.uint32(GOLDEN) + second)
    place_C = np.arange(columns, dtype=np.uint32) * np.uint32(GOLDEN)
    x_RC = _mix_host(place_C[None] ^ first_R[:, None])
    x_RC ^= second_R[:, None]
    x_RC = _mix_host(x_RC)
    x_RC >>= 8
    return x_RC.view(np.int32)


def on_device(rows_R: Tensor, keys: Keys, columns: int) -> Tensor:
    """As :func:`on_host`, for tensors on any device; int32."""
    first, second = (_signed(key) for key in keys)
    golden = _signed(GOLDEN)
    first_R = _mix(_int32(rows_R) ^ first)
    second_R = _mix(first_R + _int32(rows_R >> 32) * golden + second)
    place_C = torch.arange(columns, dtype=torch.int32, device=rows_R.device).mul_(golden)
    x_RC = _mix(place_C.unsqueeze(0) ^ first_R.unsqueeze(1)) ^ second_R.unsqueeze(1)
    return _mix(x_RC).bitwise_right_shift_(8).bitwise_and_(0xFFFFFF)


def _mix_host(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A bijection that lets every input bit change every output bit with chance near 1/2; in place."""
    x ^= x >> 16
    x *= np.uint32(MIX[0])
    x ^= x >> 15
    x *= np.uint32(MIX[1])
    x ^= x >> 16
    return x


def _mix(x: Tensor) -> Tensor:
    x = x ^ (x.bitwise_right_shift(16) & 0xFFFF)
    x = x.mul_(_signed(MIX[0]))
    x ^= x.bitwise_right_shift(15) & 0x1FFFF
    x = x.mul_(_signed(MIX[1]))
    x ^= x.bitwise_right_shift(16) & 0xFFFF
    return x


def _int32(x: Tensor) -> Tensor:
    """The low 32 bits of int64, as int32."""
    low = x & 0xFFFFFFFF
    return torch.where(low >= 2**31, low - 2**32, low).to(torch.int32)


def _signed(x: int) -> int:
    return x - 2**32 if x >= 2**31 else x
