"""What the papers prove, as numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.perturb.masks import adversarial_mask
from engine.perturb.random import bernoulli
from tests.engine.oracles import SEED, STEP, ce, f, gradient, step, theta_of, tiny


def rise(epsilon: float, p: float) -> tuple[float, float, float]:
    """(L(theta + M r) - L(theta)) / epsilon of DropAttack on a weight, and what Eq. 10 and 13 say it is."""
    network, batch = tiny()
    theta = theta_of(network)
    y = batch.labels
    assert y is not None
    loss = ce(f(theta, batch.views[0]), y).mean()
    g = gradient(loss, theta)["under.weight"]
    mask = bernoulli(SEED, STEP, "under.weight", torch.arange(len(g)), tuple(g.shape), p).double()
    seen: list[Tensor] = []
    network.register_forward_hook(lambda module, given, logits: seen.append(ce(logits, y).mean().detach()))
    step(network, batch, {"name": "dropattack", "targets": ["under.weight"], "epsilon": epsilon, "p": p})
    first_order = (mask * g).norm() ** 2 / g.norm()
    return float(seen[1] - seen[0]) / epsilon, float(first_order), float((mask * g).norm())


@pytest.mark.parametrize("p", [1.0, 0.7, 0.3])
def test_dropattack_raises_the_loss_by_equation_10(p: float) -> None:
    """L(theta + M r) = L + (M r) . grad L + O(epsilon^2) = L + epsilon ||M * g||^2 / ||g||."""
    coarse, first_order, _ = rise(1e-3, p)
    fine, _, _ = rise(1e-5, p)
    assert fine == pytest.approx(first_order, rel=1e-3)
    assert abs(fine - first_order) < abs(coarse - first_order) / 10, "the rest is of second order"


def test_equation_13_holds_without_a_mask_only() -> None:
    """It says epsilon ||M * g||, which is more than the rise as soon as M masks anything."""
    slope, _, printed = rise(1e-5, 1.0)
    assert slope == pytest.approx(printed, rel=1e-3)
    for p in (0.7, 0.3):
        slope, _, printed = rise(1e-5, p)
        assert slope < 0.95 * printed


def regression() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x_ND, y_N, w_D and grad_x l of l(w) = sum_i (y_i - x_i w)^2."""
    generator = torch.Generator().manual_seed(4)
    x, y, w = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((9, 6), (9,), (6,)))
    return x, y, w, -2 * (y - x @ w)[:, None] * w


def loss(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    return ((y - x @ w) ** 2).sum()


def test_adversarial_training_of_a_linear_regression_is_equation_13() -> None:
    """l(w) + sum |delta grad_x l| + delta^2 w' Gamma w, Gamma = sum_i sign(g_i) sign(g_i)'."""
    x, y, w, g = regression()
    for delta in (0.01, 0.3):
        s = g.sign()
        penalties = (delta * g).abs().sum() + delta**2 * w @ (s.T @ s) @ w
        assert loss(x + delta * s, y, w) == pytest.approx(float(loss(x, y, w) + penalties), rel=1e-12)


@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_adversarial_dropout_of_a_linear_regression_is_equations_14_to_16(k: int) -> None:
    """e drops the k features with the lowest x_j grad_j l below zero, and

    l(e * x) = l + sum_i sum_{j dropped} |x_ij grad_ij l| + w' Gamma w,
    Gamma = sum_i ((1 - e_i) * x_i) ((1 - e_i) * x_i)'.
    """
    x, y, w, g = regression()
    e = adversarial_mask(torch.ones_like(x), x * g, k)
    for e_i, s_i in zip(e, x * g, strict=True):
        lowest = s_i.sort().values[k - 1]
        assert torch.equal(e_i == 0, s_i <= min(float(lowest), 0.0)), "Eq. 14"
    left = (1 - e) * x
    penalties = (left * g).abs().sum() + w @ (left.T @ left) @ w
    assert loss(e * x, y, w) == pytest.approx(float(loss(x, y, w) + penalties), rel=1e-12)
    assert float(loss(e * x, y, w)) > float(loss(x, y, w))
