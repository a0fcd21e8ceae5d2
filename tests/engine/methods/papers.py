"""The update of each paper as the gradient of a loss in float64, written from its formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from engine.data.examples import Batch
from engine.perturb.random import bernoulli, normal, uniform
from tests.engine.oracles import (
    HIDDEN,
    SEED,
    STEP,
    WEIGHTS,
    Named,
    by_x,
    ce,
    dropped,
    f,
    gradient,
    kl,
    pgd,
    probabilities,
    rows_norm,
    squared,
    start_gaussian,
    start_uniform,
)

P_DROP, EPS = 0.5, 8 / 255
Paper = Callable[[Named, Batch], Tensor]
"""The loss whose gradient at theta is the update, as a number."""


def y_of(batch: Batch) -> Tensor:
    assert batch.labels is not None
    return batch.labels


def on(batch: Batch, branch: int = 0) -> Tensor:
    """Dropout's factor in train mode."""
    return dropped(P_DROP, batch, branch) / (1 - P_DROP)


def fixed(theta: Named) -> Named:
    return {n: w.detach() for n, w in theta.items()}


def standard(theta: Named, batch: Batch) -> Tensor:
    return ce(f(theta, batch.views[0], on(batch)), y_of(batch)).mean()


def fgsm(theta: Named, batch: Batch) -> Tensor:
    """alpha L(x) + (1 - alpha) L(x + epsilon sign grad L(x)), alpha = 1/2 (Goodfellow et al., section 6)."""
    x, y, e, still = batch.views[0], y_of(batch), on(batch), fixed(theta)
    moved = (x + EPS * by_x(lambda m: ce(f(still, m, e), y), x).sign()).clip(0, 1)
    return 0.5 * standard(theta, batch) + 0.5 * ce(f(theta, moved, e), y).mean()


def fgm(theta: Named, batch: Batch) -> Tensor:
    """L(x) + L(x + epsilon g / ||g||), one norm over the batch."""
    x, y, e, still = batch.views[0], y_of(batch), on(batch), fixed(theta)
    g = by_x(lambda m: ce(f(still, m, e), y), x)
    return standard(theta, batch) + ce(f(theta, x + g / g.norm(), e), y).mean()


def ball_pgd(theta: Named, batch: Batch) -> Tensor:
    """DropAttack, Eq. 3: three steps of 0.3 in a ball of radius 1, from x itself."""
    x, y, e, still = batch.views[0], y_of(batch), on(batch), fixed(theta)
    r = torch.zeros_like(x)
    for _ in range(3):
        g = by_x(lambda m: ce(f(still, m, e), y), x + r)
        r = r + 0.3 * g / g.norm()
        r = r * min(1.0, 1.0 / float(r.norm()))
    return standard(theta, batch) + ce(f(theta, x + r, e), y).mean()


def dropattack(theta: Named, batch: Batch) -> Tensor:
    """Algorithm 1: L(x) + L(x + M_x r_x) + L(theta + M_w r_w, x)."""
    x, y, e, still = batch.views[0], y_of(batch), on(batch), fixed(theta)
    leaves = {n: w.clone().requires_grad_() for n, w in still.items()}
    g = by_x(lambda m: ce(f(still, m, e), y) / len(batch), x)
    g_w = gradient(ce(f(leaves, x, e), y).mean(), leaves)["upper.weight"]
    m_x = bernoulli(SEED, STEP, "input", batch.index, tuple(x.shape), 0.5)
    m_w = bernoulli(SEED, STEP, "upper.weight", torch.arange(3), tuple(g_w.shape), 0.5)
    moved = {**theta, "upper.weight": theta["upper.weight"] + m_w * 5 * g_w / g_w.norm()}
    attacked = ce(f(theta, x + m_x * 5 * g / g.norm(), e), y) + ce(f(moved, x, e), y)
    return standard(theta, batch) + attacked.mean()


def freelb(theta: Named, batch: Batch) -> Tensor:
    """(1/K) sum_t L(x + r^t): K = 3 passes, per-example steps of 0.1 in balls of 0.6, one dropout mask."""
    x, y, e, still = batch.views[0], y_of(batch), on(batch), fixed(theta)
    r = (2 * uniform(SEED, STEP, "start", batch.index, tuple(x.shape)).double() - 1) * 0.6 / 6**0.5
    total = torch.zeros(())
    for _ in range(3):
        total = total + ce(f(theta, x + r, e), y).mean() / 3
        g = by_x(lambda m: ce(f(still, m, e), y), x + r)
        r = r + 0.1 * g / rows_norm(g)
        r = r * (0.6 / rows_norm(r)).clip(max=1)
    return total


def labels_attack(theta: Named, batch: Batch, r: Tensor, e: Any, epsilon: float, alpha: float) -> Tensor:
    still, y = fixed(theta), y_of(batch)
    return pgd(lambda m: ce(f(still, m, e), y), batch.views[0], r, 10, epsilon, alpha)


def at_x(theta: Named, batch: Batch) -> Tensor:
    """Eq. 14; dropout as in training."""
    return labels_attack(theta, batch, start_uniform(batch, EPS), on(batch), EPS, 2 / 255)


def at_loss(theta: Named, batch: Batch, moved: Tensor) -> Tensor:
    return ce(f(theta, moved, on(batch)), y_of(batch)).mean()


def trades_x(epsilon: float = 0.031, alpha: float = 0.007) -> Callable[[Named, Batch], Tensor]:
    """Eq. 16, in eval mode, from x + 0.001 N(0, 1)."""

    def find(theta: Named, batch: Batch) -> Tensor:
        still, x = fixed(theta), batch.views[0]
        p = f(still, x)
        return pgd(lambda m: kl(p, f(still, m)), x, start_gaussian(batch, 0.001), 10, epsilon, alpha)

    return find


def trades_loss(theta: Named, batch: Batch, moved: Tensor) -> Tensor:
    """Eq. 2."""
    p, q = (f(theta, x, on(batch)) for x in (batch.views[0], moved))
    return (ce(p, y_of(batch)) + 6 * kl(p, q)).mean()


def rst_loss(theta: Named, batch: Batch, moved: Tensor) -> Tensor:
    """Eq. 4 with lambda = 1: the last three examples are pseudo-labelled."""
    p, q = (f(theta, x, on(batch)) for x in (batch.views[0], moved))
    rho = ce(p, y_of(batch)) + 6 * kl(p, q)
    return rho[:4].mean() + rho[4:].mean()


def mart_x(theta: Named, batch: Batch) -> Tensor:
    """Eq. 17, in eval mode."""
    return labels_attack(theta, batch, start_gaussian(batch, 0.001), 1.0, 0.031, 0.007)


def mart_loss(theta: Named, batch: Batch, moved: Tensor) -> Tensor:
    """Eq. 3, with the slack of the released code."""
    y, rows = y_of(batch), torch.arange(len(batch))
    p, q = (f(theta, x, on(batch)) for x in (batch.views[0], moved))
    right = probabilities(q)[rows, y]
    wrong = torch.stack(
        [max(row[k] for k in range(3) if k != c) for row, c in zip(probabilities(q), y, strict=True)]
    )
    bce = -right.log() - (1.0001 - wrong).log()
    return (bce + 5 * kl(p, q) * (1.0000001 - probabilities(p)[rows, y])).mean()


def robust(find: Callable[[Named, Batch], Tensor], loss: Callable[[Named, Batch, Tensor], Tensor]) -> Paper:
    return lambda theta, batch: loss(theta, batch, find(theta, batch))


def awp(
    find: Callable[[Named, Batch], Tensor], loss: Callable[[Named, Batch, Tensor], Tensor], gamma: float
) -> Paper:
    """AWP, Algorithm 2 with A = K2 = 1: v_l = gamma ||w_l|| g_l / ||g_l||."""

    def paper(theta: Named, batch: Batch) -> Tensor:
        moved = find(theta, batch)
        leaves = {n: w.detach().requires_grad_() for n, w in theta.items()}
        g = gradient(loss(leaves, batch, moved), leaves)
        v = {n: gamma * theta[n].detach().norm() * g[n] / g[n].norm() for n in WEIGHTS}
        return loss({n: w + v.get(n, 0) for n, w in theta.items()}, batch, moved)

    return paper


def pi_model(theta: Named, batch: Batch) -> Tensor:
    p, q = f(theta, batch.views[0], on(batch)), f(theta, batch.views[1], on(batch, 1))
    return standard(theta, batch) + 100 * torch.exp(torch.tensor(-5.0)) * squared(p, q).mean()


def mask(lost: Callable[[Tensor], Tensor]) -> Tensor:
    """Algorithm 1 with e_s = 1 and a budget of floor(0.3 * 8) = 2: switch off the most negative of J."""
    e = torch.ones(7, HIDDEN, dtype=torch.float64, requires_grad=True)
    j = torch.autograd.grad(lost(e).sum(), e)[0]
    e = torch.ones_like(e).detach()
    for row, gain in zip(e, j, strict=True):
        for i in gain.argsort()[:2]:
            row[i] = float(gain[i] >= 0)
    return e * HIDDEN / e.sum(1, keepdim=True)


def sadd(theta: Named, batch: Batch) -> Tensor:
    """Eq. 4 and 6, lambda = 1 at the foot of its ramp."""
    x, y, still = batch.views[0], y_of(batch), fixed(theta)
    e = mask(lambda e: ce(f(still, x, e), y))
    ramp = torch.exp(torch.tensor(-5.0))
    return (ce(f(theta, x), y) + ramp * ce(f(theta, x, e), y)).mean()


def vadd(theta: Named, batch: Batch) -> Tensor:
    """Eq. 5-7 with VAT on top: all branches but the adversarial one have the base mask, all ones."""
    (x1, x2), y, still, ramp = batch.views, y_of(batch), fixed(theta), torch.exp(torch.tensor(-5.0))
    p = f(theta, x1)
    e = mask(lambda e: kl(p.detach(), f(still, x2, e)))
    vat_term = kl(p.detach(), f(theta, x1 + virtual(still, batch, p.detach(), 1.0, 0.7)))
    return (ce(p, y) + ramp * kl(p, f(theta, x2, e)) + 2 * ramp * vat_term).mean()


def virtual(still: Named, batch: Batch, p: Tensor, e: Any, epsilon: float) -> Tensor:
    x = batch.views[0]
    d = normal(SEED, STEP, "virtual", batch.index, tuple(x.shape)).double()
    g = by_x(lambda r: kl(p, f(still, x + r, e)), 1e-3 * d / rows_norm(d))
    return epsilon * g / rows_norm(g)


def vat(theta: Named, batch: Batch) -> Tensor:
    x, still, e = batch.views[0], fixed(theta), on(batch)
    p = f(theta, x, e)
    q = f(theta, x + virtual(still, batch, p.detach(), e, 8.0), e)
    return standard(theta, batch) + kl(p.detach(), q).mean()


def adaptive(theta: Named, batch: Batch) -> Tensor:
    """Rows 1 and 4 are drawn, and attacked by FGSM with 0.3 in eval mode."""
    x, y, still = batch.views[0], y_of(batch), fixed(theta)
    moved = (x + 0.3 * by_x(lambda m: ce(f(still, m), y), x).sign()).clip(0, 1)
    drawn = torch.tensor([0, 1, 0, 0, 1, 0, 0]).view(-1, 1, 1, 1)
    return ce(f(theta, torch.where(drawn == 1, moved, x), on(batch)), y).mean()


TRADES_AWP = trades_x(EPS, 2 / 255)
VAT_ON_TOP = {"epsilon": 0.7, "xi": 1e-3, "weight": 2.0}
PAPERS: dict[str, tuple[dict[str, Any], Paper]] = {
    "standard": ({}, standard),
    "fgsm": ({}, fgsm),
    "fgm": ({}, fgm),
    "pgd": ({}, ball_pgd),
    "dropattack": ({"targets": ["input", "upper.weight"]}, dropattack),
    "freelb": ({}, freelb),
    "at": ({}, robust(at_x, at_loss)),
    "at_awp": ({}, awp(at_x, at_loss, 0.01)),
    "trades": ({}, robust(trades_x(), trades_loss)),
    "trades_awp": ({}, awp(TRADES_AWP, trades_loss, 0.005)),
    "mart": ({}, robust(mart_x, mart_loss)),
    "mart_awp": ({}, awp(mart_x, mart_loss, 0.005)),
    "rst": ({}, robust(trades_x(), rst_loss)),
    "rst_awp": ({}, awp(trades_x(), rst_loss, 0.005)),
    "pi_model": ({}, pi_model),
    "sadd": ({"delta": 0.3}, sadd),
    "vadd": ({"delta": 0.3, "vat": VAT_ON_TOP}, vadd),
    "vat": ({"xi": 1e-3}, vat),
    "adaptive": ({"perturbations": "refreshed"}, adaptive),
}
