"""Losses against their papers' formulas, row by row, and what each kind of example weighs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.data.examples import Batch
from engine.objective import Aims, divergence, entropy, evaluate, margin, ramp, supervised
from engine.slots.objective import Objective, Term
from tests.engine.oracles import (
    agree,
    ce,
    f,
    gradient,
    kl,
    probabilities,
    squared,
    step,
    theta_of,
    tiny,
)

P = torch.tensor([[1.0, -0.5, 0.2], [0.3, 0.1, -2.0], [-1.0, 2.0, 0.5]], dtype=torch.float64)
Q = torch.tensor([[0.2, 0.9, -0.3], [1.3, -0.4, 0.0], [0.1, 0.2, 0.4]], dtype=torch.float64)
Y = torch.tensor([0, 2, 1])


def softmax(z: Tensor) -> Any:
    e = np.exp(z.numpy())
    return e / e.sum(1, keepdims=True)


def test_the_losses_of_one_row() -> None:
    p, q = softmax(P), softmax(Q)
    rows = range(3)
    np.testing.assert_allclose(supervised(Q, Y), [-math.log(q[i, Y[i]]) for i in rows], rtol=1e-12)
    np.testing.assert_allclose(divergence("kl", P, Q), (p * np.log(p / q)).sum(1), rtol=1e-12)
    np.testing.assert_allclose(divergence("squared", P, Q), ((p - q) ** 2).mean(1), rtol=1e-12)
    np.testing.assert_allclose(entropy(P), -(p * np.log(p)).sum(1), rtol=1e-12)
    others = [max(q[i, k] for k in range(3) if k != Y[i]) for i in rows]
    boosted = [-math.log(q[i, Y[i]] + 1e-12) - math.log(1.0001 - others[i] + 1e-12) for i in rows]
    np.testing.assert_allclose(margin(Q, Y), boosted, rtol=1e-12)
    soft = torch.tensor([[0.2, 0.8, 0.0], [1.0, 0.0, 0.0], [0.3, 0.3, 0.4]]).double()
    np.testing.assert_allclose(supervised(Q, soft), -(soft.numpy() * np.log(q)).sum(1), rtol=1e-12)
    pixels = torch.rand(3, 1, 1, 3).double()
    np.testing.assert_allclose(supervised(Q, pixels), ((Q - pixels.flatten(1)) ** 2).mean(1), rtol=1e-12)


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, math.exp(-5)), (20, math.exp(-2.8125)), (80, 1.0), (200, 1.0)]
)
def test_ramp(epoch: float, expected: float) -> None:
    assert ramp(Term(branch="view", divergence="kl", ramp=80), epoch) == pytest.approx(expected)
    assert ramp(Term(branch="view", divergence="kl"), epoch) == 1


def total(settings: Objective, aims: Aims, epoch: float = 0.0) -> float:
    branches = {"natural": P, "attack": Q, "dropout": Q, "view": Q}
    return float(evaluate(settings, lambda name: branches[name], aims, epoch).total)  # type: ignore[index]


def test_mart_is_equation_8_to_10() -> None:
    terms = (Term(branch="attack", divergence="margin"), Term(branch="attack", divergence="mart", weight=5.0))
    p_y = probabilities(P)[torch.arange(3), Y]
    expected = (margin(Q, Y) + 5 * kl(P, Q) * (1.0000001 - p_y)).sum()
    assert total(Objective(natural=0.0, terms=terms), Aims(Y, 3, 3)) == pytest.approx(
        float(expected), rel=1e-12
    )


@pytest.mark.parametrize("kind", ["kl", "squared"])
def test_a_divergence_is_the_mean_over_all_examples_beside_the_mean_over_labelled_ones(kind: Any) -> None:
    settings = Objective(terms=(Term(branch="view", divergence=kind, weight=2.0, ramp=10),), entropy=0.3)
    own = kl(P, Q) if kind == "kl" else squared(P, Q)
    unlabelled = entropy(P[2:]).mean()
    expected = ce(P[:2], Y[:2]).mean() + 2 * math.exp(-5 / 4) * own.mean() + 0.3 * unlabelled
    assert total(settings, Aims(Y[:2], 2, 3), epoch=5) / 2 == pytest.approx(float(expected), rel=1e-12)


def test_entropy_of_labelled_examples_does_not_count() -> None:
    assert total(Objective(entropy=9.0), Aims(Y, 3, 3)) == pytest.approx(float(ce(P, Y).sum()))


@pytest.mark.parametrize("weight", [1.0, 0.4])
def test_pseudo_labelled_examples_have_a_loss_of_their_own(weight: float) -> None:
    """AWP, Eq. 4: rho(labelled) + lambda rho(pseudo-labelled), each with the same balance of its terms."""
    terms = (Term(branch="attack", divergence="kl", weight=6.0),)
    settings = Objective(terms=terms, unlabelled=weight)
    rho = ce(P, Y) + 6 * kl(P, Q)
    expected = rho[:1].mean() + weight * rho[1:].mean()
    found = total(settings, Aims(Y, 1, 3, extra=2, pseudo=True))
    assert found == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("micro", [0, 2, 3, 5])
@pytest.mark.parametrize("pseudo", [False, True])
def test_a_batch_in_parts_weighs_its_examples_as_the_whole_does(micro: int, pseudo: bool) -> None:
    network, batch = tiny(p=0.5, views=2)
    assert batch.labels is not None
    labels = batch.labels if pseudo else batch.labels[:4]
    mixed = Batch(batch.views, labels, batch.index, extra=3, pseudo=pseudo)
    method = {
        "objective": {
            "terms": [{"branch": "view", "divergence": "kl", "weight": 2.0}],
            "entropy": 0.5,
            "unlabelled": 0.3,
        }
    }
    options = {"labelled": 4, "examples": 7}
    whole = step(network, mixed, method, **options)
    agree(step(network, mixed, method, micro=micro, **options), whole)


def test_rst_is_trades_on_both_kinds_of_examples() -> None:
    from tests.engine.oracles import pgd, start_gaussian

    network, batch = tiny()
    theta, x, y = theta_of(network), batch.views[0], batch.labels
    assert y is not None
    mixed = Batch(batch.views, y, batch.index, extra=3, pseudo=True)
    at_x = f(theta, x).detach()
    moved = pgd(lambda m: kl(at_x, f(theta, m)), x, start_gaussian(batch, 0.001), 10, 0.031, 0.007)
    rho = ce(f(theta, x), y) + 6 * kl(f(theta, x), f(theta, moved))
    expected = gradient(rho[:4].mean() + 0.5 * rho[4:].mean(), theta)
    method = {"name": "rst", "unlabelled": 0.5}
    agree(step(network, mixed, method, labelled=4, examples=7), expected)
