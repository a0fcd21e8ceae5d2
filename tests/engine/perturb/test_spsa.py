from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.perturb.inputs import Draw
from engine.perturb.random import bernoulli
from engine.perturb.spsa import climb, estimate

ROWS = torch.tensor([3, 11])


def curved(r: Tensor) -> Tensor:
    """sum_i i r_i^2 + r_i, for each example."""
    weights = torch.arange(r[0].numel(), dtype=r.dtype).view(r[0].shape)
    return (weights * r**2 + r).flatten(1).sum(1)


def test_the_estimate_is_its_formula() -> None:
    torch.manual_seed(0)
    r = torch.randn(2, 1, 2, 3, dtype=torch.float64)
    found = estimate(curved, r, Draw(5, 2, ROWS), delta=0.01, samples=3)
    expected = np.zeros((2, 6))
    for i in range(3):
        heads = bernoulli(5, 2, f"spsa.{i}", ROWS, (2, 1, 2, 3), 0.5).numpy().reshape(2, 6)
        v = np.where(heads, 1.0, -1.0)
        for row in range(2):
            base = r[row].numpy().ravel()
            up, down = base + 0.01 * v[row], base - 0.01 * v[row]
            rise = (np.arange(6) * up**2 + up).sum() - (np.arange(6) * down**2 + down).sum()
            expected[row] += rise / 0.02 * v[row] / 3
    assert np.abs(found.numpy().reshape(2, 6) - expected).max() < 1e-9


def test_the_estimate_points_where_the_gradient_points() -> None:
    """Over n directions in d dimensions the expected cosine is near sqrt(n / (n + d))."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x, y = torch.rand(2, 1, 4, 4, dtype=torch.float64), torch.tensor([0, 2])

    def losses(r: Tensor) -> Tensor:
        return nn.functional.cross_entropy(network(x + r), y, reduction="none")

    r = torch.zeros_like(x, requires_grad=True)
    (true,) = torch.autograd.grad(losses(r).sum(), r)
    with torch.no_grad():
        few, many = (estimate(losses, r.detach(), Draw(0, 0, ROWS), 0.001, n) for n in (16, 512))
    cosines = [nn.functional.cosine_similarity(g.flatten(1), true.flatten(1)) for g in (few, many)]
    assert (cosines[0] > 0.4).all()
    assert (cosines[1] > 0.95).all()


def test_examples_have_their_own_directions_whatever_their_batch() -> None:
    r = torch.zeros(2, 4)
    both = estimate(curved, r, Draw(1, 0, ROWS), 0.1, 2)
    alone = estimate(curved, r[1:], Draw(1, 0, ROWS[1:]), 0.1, 2)
    assert torch.equal(both[1:], alone)
    assert not torch.equal(both[0], both[1])


@pytest.mark.parametrize("bound", [0.3, 10.0])
def test_climbing_reaches_the_corner_and_stays_in_the_ball(bound: float) -> None:
    slope = torch.tensor([[1.0, -2.0, 3.0], [-1.0, 1.0, 0.5]])

    def losses(r: Tensor) -> Tensor:
        return (slope * r).sum(1)

    def project(r: Tensor) -> Tensor:
        return r.clamp(-bound, bound)

    start = torch.zeros(2, 3)
    found = climb(losses, start, Draw(0, 0, ROWS), project, steps=20, lr=0.1, delta=0.01, samples=64)
    assert torch.equal(start, torch.zeros(2, 3))
    assert torch.equal(found.sign(), slope.sign())
    if bound == 0.3:
        assert torch.allclose(found, 0.3 * slope.sign())
    assert not found.requires_grad
    assert found.grad is None
