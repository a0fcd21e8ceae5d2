"""The generator's quality. Every seed is fixed, so that no test of chance fails by chance."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from scipy import stats
from torch import Tensor

from engine.perturb.random import bernoulli, derive, seed_torch, uniform

ROWS, COLUMNS = 1000, 1024
SPARSE = torch.arange(ROWS) * 977 + 13  # a shuffled subset's indices are not neighbours
FAR = torch.arange(ROWS) + 2**33
KINDS = pytest.mark.parametrize("rows", [torch.arange(ROWS), SPARSE, FAR], ids=["near", "sparse", "far"])


def draw(rows: Tensor, seed: int = 0, step: int = 0, target: str = "input") -> Tensor:
    return uniform(seed, step, target, rows, (len(rows), COLUMNS))


def uniform_enough(counts: Tensor) -> bool:
    """Chi-square against equal counts, at a level that a good generator misses once in 10,000 tests."""
    return bool(stats.chisquare(counts.numpy()).pvalue > 1e-4)


def independent(a: Tensor, b: Tensor, bins: int = 16) -> bool:
    """Whether pairs (a_i, b_i) fill the unit square evenly, and are uncorrelated."""
    a, b = a.flatten(), b.flatten()
    cells = (a * bins).long() * bins + (b * bins).long()
    correlation = torch.corrcoef(torch.stack([a, b]).double())[0, 1].item()
    even = uniform_enough(torch.bincount(cells, minlength=bins * bins))
    return even and abs(correlation) < 4 / len(a) ** 0.5


@KINDS
def test_numbers_are_uniform(rows: Tensor) -> None:
    u = draw(rows)
    assert u.dtype == torch.float32
    assert u.min() >= 0
    assert u.max() < 1
    assert uniform_enough(torch.bincount((u.flatten() * 256).long(), minlength=256))
    assert stats.kstest(u[:100].flatten().numpy(), "uniform").pvalue > 1e-4


@KINDS
def test_every_bit_is_fair(rows: Tensor) -> None:
    bits = (draw(rows) * 2**24).long()
    n = bits.numel()
    for place in range(24):
        ones = (bits >> place & 1).sum().item()
        assert abs(ones - n / 2) < 4 * n**0.5 / 2, place


@KINDS
@pytest.mark.parametrize("distance", [1, 2, 7, 64])
def test_places_are_independent(rows: Tensor, distance: int) -> None:
    u = draw(rows)
    assert independent(u[:, distance:], u[:, :-distance]), "columns"
    assert independent(u[distance:], u[:-distance]), "rows"
    assert independent(u[distance:, distance:], u[:-distance, :-distance]), "diagonals"


@pytest.mark.parametrize(
    "place", [(1, 0, "input"), (0, 1, "input"), (0, 0, "conv1.weight"), (0, 10**9, "input")]
)
def test_seeds_steps_and_targets_are_independent(place: tuple[int, int, str]) -> None:
    a, b = draw(SPARSE), draw(SPARSE, *place)
    assert independent(a, b)
    assert independent(a[:-1], b[1:])
    assert independent(a[:, :-1], b[:, 1:])


def test_consecutive_steps_are_independent() -> None:
    steps = [draw(torch.arange(64), step=s) for s in range(20)]
    assert all(independent(a, b, bins=8) for a, b in pairwise(steps))


def test_row_sums_scatter_as_independent_draws_do() -> None:
    masks = bernoulli(0, 0, "input", SPARSE, (ROWS, COLUMNS), 0.3).double()
    for axis, n in ((1, COLUMNS), (0, ROWS)):
        z = (masks.sum(axis) - 0.3 * n) / (n * 0.3 * 0.7) ** 0.5
        assert stats.kstest(z.numpy(), "norm").pvalue > 1e-4


def test_no_two_rows_are_alike() -> None:
    rows = torch.cat([torch.arange(3000), SPARSE + 10**6, FAR, torch.arange(3, 3000) << 32])
    u = uniform(0, 0, "input", rows, (len(rows), 8))
    assert len(torch.unique(u, dim=0)) == len(u)


@pytest.mark.parametrize("p", [0.01, 0.1, 0.3, 0.5, 0.7, 0.999])
@pytest.mark.parametrize("rows", [torch.arange(ROWS), SPARSE], ids=["near", "sparse"])
def test_masks_have_mean_p(p: float, rows: Tensor) -> None:
    m = bernoulli(3, 1, "fc1.weight", rows, (ROWS, COLUMNS), torch.tensor(p))
    assert m.dtype == torch.bool
    assert abs(m.double().mean().item() - p) < 4 * (p * (1 - p) / m.numel()) ** 0.5


def test_p_0_and_p_1_are_exact() -> None:
    assert not bernoulli(0, 0, "input", SPARSE, (ROWS, COLUMNS), torch.tensor(0.0)).any()
    assert bernoulli(0, 0, "input", SPARSE, (ROWS, COLUMNS), torch.tensor(1.0)).all()


def test_a_smaller_p_attacks_a_subset() -> None:
    few, many = (bernoulli(0, 0, "input", SPARSE, (ROWS, 9), p) for p in (0.2, 0.6))
    assert bool((few <= many).all())


def test_a_number_depends_on_its_place_alone() -> None:
    whole = draw(SPARSE)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw(SPARSE[order]), whole[order]), "order and batch"
    assert torch.equal(draw(SPARSE[100:101]), whole[100:101]), "a batch of one"
    torch.rand(3)
    assert torch.equal(draw(SPARSE), whole), "what was drawn before"
    assert SPARSE[1] == 990, "the rows given are left as they were"


def test_a_longer_text_changes_no_mask_of_a_shorter_batch() -> None:
    rows = torch.tensor([5, 2])
    short = bernoulli(0, 0, "input", rows, (2, 4, 6), 0.5)
    assert torch.equal(bernoulli(0, 0, "input", rows, (2, 9, 6), 0.5)[:, :4], short)


def test_shapes() -> None:
    assert uniform(0, 0, "fc.bias", torch.arange(5), (5,)).shape == (5,)
    assert uniform(0, 0, "input", torch.arange(0), (0, 3)).shape == (0, 3)


def test_the_stream_is_pinned() -> None:
    # Whole numbers, the same on every machine: a change here changes the meaning of every key.
    bits = (uniform(1, 2, "input", torch.tensor([0, 7, 2**40]), (3, 2)) * 2**24).long()
    assert bits.tolist() == [[3490735, 8338003], [12045070, 16716069], [15151558, 10540602]]
    assert derive(0, "init") == 3598610026517748695


def test_derive_tells_places_apart() -> None:
    places = [
        (s, *p)
        for s in range(3)
        for p in (("init",), ("step", 1, 0), ("step", 10), ("step", 1), ("order", 1))
    ]
    seeds = {derive(*place) for place in places}
    assert len(seeds) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seed_torch_fixes_the_draws_that_follow() -> None:
    with torch.random.fork_rng(devices=[]):
        seed_torch(5, torch.device("cpu"))
        first = torch.rand(4)
        seed_torch(5, torch.device("cpu"))
        assert torch.equal(torch.rand(4), first)
        torch.manual_seed(5)
        assert torch.equal(torch.rand(4), first)
