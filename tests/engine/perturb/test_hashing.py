"""Both implementations against the formula in Python's whole numbers, and against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.perturb import hashing

WORD = 2**32
KEYS = [(0, 0), (1, 2**31), (2**32 - 1, 0x9E3779B9), (0x80000000, 0x7FFFFFFF)]
ROWS = torch.tensor([0, 1, 7, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40 + 5, 2**63 - 1])


def mix(x: int) -> int:
    x ^= x >> 16
    x = x * 0x7FEB352D % WORD
    x ^= x >> 15
    x = x * 0x846CA68B % WORD
    return x ^ x >> 16


def bits(row: int, column: int, keys: hashing.Keys) -> int:
    golden = 2654435769
    first = mix(row % WORD ^ keys[0])
    second = mix((first + (row >> 32) * golden + keys[1]) % WORD)
    return mix(mix(column * golden % WORD ^ first) ^ second) >> 8


@pytest.mark.parametrize("keys", KEYS)
def test_both_are_the_formula(keys: hashing.Keys) -> None:
    found = hashing.on_host(ROWS.numpy(), keys, 5)
    assert found.tolist() == [[bits(row, column, keys) for column in range(5)] for row in ROWS.tolist()]
    assert np.array_equal(hashing.on_device(ROWS, keys, 5).numpy(), found)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (257, 771), (0, 4), (4, 0)])
def test_both_agree_in_every_bit(shape: tuple[int, int]) -> None:
    rows = torch.arange(shape[0]) * 977 + 2**33
    found = hashing.on_host(rows.numpy(), (12345, 67890), shape[1])
    assert found.dtype == np.int32
    assert found.shape == shape
    assert torch.equal(hashing.on_device(rows, (12345, 67890), shape[1]), torch.from_numpy(found))


def test_rows_are_left_as_they_were() -> None:
    rows = ROWS.clone()
    hashing.on_host(rows[::2].numpy(), (1, 2), 3)
    hashing.on_device(rows, (1, 2), 3)
    assert torch.equal(rows, ROWS)
