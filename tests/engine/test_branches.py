"""Adversarial dropout, views, virtual directions, ensembles: brute force and formulas in float64."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.data.examples import Batch
from engine.distributed import Workers
from engine.perturb.random import normal
from engine.slots.attack import Virtual
from engine.slots.dropout import AdversarialDropout
from engine.slots.objective import Objective, Term
from engine.slots.slots import Slots
from engine.state import State
from tests.engine.oracles import (
    HIDDEN,
    SEED,
    STEP,
    Named,
    Tiny,
    agree,
    by_x,
    ce,
    dropped,
    f,
    gradient,
    kl,
    probabilities,
    rows_norm,
    squared,
    step,
    theta_of,
    tiny,
)  # fmt: skip

ALL = torch.tensor(list(product([0.0, 1.0], repeat=HIDDEN)), dtype=torch.float64)
"""All 256 masks of eight units."""


def divergence(slot: AdversarialDropout, p: Tensor, q: Tensor, y: Tensor) -> Tensor:
    if slot.target == "labels":
        return ce(q, y)
    if slot.divergence == "squared":
        return squared(p, q)
    return kl(q, p) if slot.reverse else kl(p, q)


def best_masks(slot: AdversarialDropout, base: Tensor, j: Tensor) -> Tensor:
    """argmax over all masks within the budget of <J, e - e_s>, by enumeration, for each example."""
    found = []
    for e_s, gain in zip(base, j, strict=True):
        flips = (e_s - ALL).abs().sum(1)
        bound = slot.delta * HIDDEN
        allowed = flips <= bound if slot.budget == "hamming" else flips.sqrt() <= bound
        scores = torch.where(allowed, (ALL - e_s) @ gain, -torch.inf)
        found.append(ALL[scores.argmax()])
    return torch.stack(found)


def scaled(slot: AdversarialDropout, p: float, e: Tensor) -> Tensor:
    """A mask as it multiplies the units."""
    if slot.rescale:
        return e * HIDDEN / e.sum(1, keepdim=True).clip(min=1)
    return e if slot.base == "ones" else e / (1 - p)


def by_formula(network: Tiny, batch: Batch, slot: AdversarialDropout, term: Term) -> tuple[Named, Tensor]:
    """Gradient of L = CE(f(x_1, e_s), y) + weight * D[., f(x_2, e)], and e."""
    theta, p = theta_of(network), network.dropout.p
    x1, x2, y = batch.views[0], batch.views[slot.views - 1], batch.labels
    assert y is not None
    e_s = torch.ones(len(x1), HIDDEN).double() if slot.base == "ones" else dropped(p, batch)
    first = e_s if slot.base == "ones" else e_s / (1 - p)
    natural = f(theta, x1, first)
    at = torch.ones_like(e_s) if slot.jacobian_at == "ones" else e_s
    leaf = at.clone().requires_grad_()
    kept = 1 - p if slot.jacobian_at == "base" and slot.base == "bernoulli" else 1.0
    factor = HIDDEN / at.sum(1, keepdim=True).clip(min=1) if slot.rescale else 1 / kept
    lost = divergence(slot, natural.detach(), f(theta, x2, leaf * factor), y)
    j = torch.autograd.grad(lost.sum(), leaf)[0]
    e = best_masks(slot, e_s, j)
    q = f(theta, x2, scaled(slot, p, e))
    ways = {"ce": lambda: ce(q, y), "kl": lambda: kl(natural, q), "squared": lambda: squared(natural, q)}
    extra = ways[term.divergence]()
    return gradient((ce(natural, y) + term.weight * extra).mean(), theta), e


SEARCHES: list[dict[str, Any]] = [
    {"target": "labels", "delta": 0.3},
    {"target": "labels", "delta": 0.3, "rescale": False},
    {"target": "labels", "delta": 0.25, "budget": "l2"},
    {"target": "labels", "delta": 0.7, "base": "bernoulli"},
    {"target": "labels", "delta": 0.7, "base": "bernoulli", "jacobian_at": "base"},
    {"target": "labels", "delta": 0.4, "base": "bernoulli", "jacobian_at": "base", "rescale": False},
    {"delta": 0.3, "base": "bernoulli"},
    {"delta": 0.5, "views": 2},
    {"delta": 0.3, "views": 2, "divergence": "squared"},
    {"delta": 0.5, "views": 2, "reverse": True},
    {"delta": 0.3, "views": 2, "base": "bernoulli", "jacobian_at": "base", "divergence": "squared"},
    {"delta": 0.3, "base": "bernoulli", "rescale": False},
]


@pytest.mark.parametrize("settings", SEARCHES)
def test_adversarial_dropout(settings: dict[str, Any]) -> None:
    network, batch = tiny(p=0.5, seed=1, views=2)
    slot = AdversarialDropout(**settings)
    kinds = {"labels": "ce", "prediction": slot.divergence}
    term = Term.model_validate({"branch": "dropout", "divergence": kinds[slot.target], "weight": 0.7})
    masks: list[Tensor] = []
    network.dropout.register_forward_pre_hook(lambda m, h: masks.append(m.mask))
    slots = Slots(dropout=slot, objective=Objective(terms=(term,))).collapsed()
    found = step(network, batch, slots)
    expected, e = by_formula(network, batch, slot, term)
    used = masks[-1].double()
    assert torch.allclose(used, scaled(slot, 0.5, e), rtol=1e-6)
    agree(found, expected)
    base = torch.ones_like(e) if slot.base == "ones" else dropped(0.5, batch)
    flips = (base - e).abs().sum(1)
    assert flips.max() > 0, "a search that flips nothing proves nothing"
    assert flips.max() <= slot.flips(HIDDEN)


def test_the_searches_differ() -> None:
    network, batch = tiny(p=0.5, seed=1, views=2)
    found = []
    for settings in SEARCHES:
        slot = AdversarialDropout(**settings)
        term = Term(branch="dropout", divergence="ce" if slot.target == "labels" else slot.divergence)
        found.append(by_formula(network, batch, slot, term)[0]["under.weight"])
    close = [
        (i, j) for i in range(len(found)) for j in range(i) if torch.allclose(found[i], found[j], rtol=1e-4)
    ]
    assert not close


def test_units_that_are_off_can_be_flipped_on() -> None:
    network, batch = tiny(p=0.5)
    for at in ("ones", "base"):
        slot = AdversarialDropout(target="labels", delta=1.0, base="bernoulli", jacobian_at=at)  # type: ignore[arg-type]
        e = by_formula(network, batch, slot, Term(branch="dropout", divergence="ce"))[1]
        assert (e > dropped(0.5, batch)).any()


@pytest.mark.parametrize("base", ["ones", "bernoulli"])
def test_no_flips_and_no_rescaling_leave_both_branches_alike(base: Any) -> None:
    network, batch = tiny(p=0.5)
    slot = AdversarialDropout(delta=0.0, base=base, rescale=False)
    terms = (Term(branch="dropout", divergence="kl", weight=5.0),)
    theta, mask = theta_of(network), dropped(0.5, batch) * 2 if base == "bernoulli" else 1.0
    expected = gradient(ce(f(theta, batch.views[0], mask), batch.labels).mean(), theta)  # type: ignore[arg-type]
    agree(step(network, batch, Slots(dropout=slot, objective=Objective(terms=terms))), expected)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("kind", ["kl", "squared"])
def test_a_view_has_its_own_copy_and_dropout_masks(kind: Any, detach: bool) -> None:
    network, batch = tiny(p=0.5, seed=1, views=2)
    found = step(
        network, batch, {"name": "pi_model", "divergence": kind, "weight": 3.0, "ramp": 0, "detach": detach}
    )
    theta = theta_of(network)
    p = f(theta, batch.views[0], dropped(0.5, batch, 0) * 2)
    q = f(theta, batch.views[1], dropped(0.5, batch, 1) * 2)
    assert not torch.equal(dropped(0.5, batch, 0), dropped(0.5, batch, 1))
    pair = (p.detach() if detach else p, q)
    lost = ce(p, batch.labels) + 3 * (kl(*pair) if kind == "kl" else squared(*pair))  # type: ignore[arg-type]
    agree(found, gradient(lost.mean(), theta))


@pytest.mark.parametrize("iterations", [1, 3])
def test_the_virtual_direction(iterations: int) -> None:
    network, batch = tiny(p=0.5)
    theta, x, e = theta_of(network), batch.views[0], dropped(0.5, batch) * 2
    p = f(theta, x, e).detach()
    d = normal(SEED, STEP, "virtual", batch.index, tuple(x.shape)).double()
    d = d / rows_norm(d)
    for _ in range(iterations):
        g = by_x(lambda r: kl(p, f(theta, x + r, e)), 1e-3 * d)
        d = g / rows_norm(g)
    lost = ce(f(theta, x, e), batch.labels) + 2 * kl(p, f(theta, x + 0.5 * d, e))  # type: ignore[arg-type]
    method = {"name": "vat", "epsilon": 0.5, "xi": 1e-3, "iterations": iterations, "weight": 2.0}
    agree(step(network, batch, method), gradient(lost.mean(), theta))


def test_power_iterations_find_the_first_eigenvector_of_the_hessian() -> None:
    """Miyato et al., section 3.3: d tends to the eigenvector of H = grad grad KL at r = 0."""
    network, batch = tiny()
    theta, x = theta_of(network), batch.views[0][:1]
    one = Batch((x,), batch.labels[:1], batch.index[:1])  # type: ignore[index]
    p = f(theta, x).detach()
    h = torch.autograd.functional.hessian(
        lambda r: kl(p, f(theta, x + r.view_as(x))).sum(), torch.zeros(6).double()
    )
    top = torch.linalg.eigh(h).eigenvectors[:, -1]  # type: ignore[no-untyped-call]
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda m, given: seen.append(given[0].detach()))
    virtual = Virtual(kind="virtual", epsilon=0.5, xi=1e-4, iterations=40)
    terms = (Term(branch="attack", divergence="kl", detach=True),)
    step(network, one, Slots(input=virtual, objective=Objective(terms=terms)))
    r = (seen[-1] - x).flatten() / 0.5
    assert abs(float(r @ top)) == pytest.approx(1.0, abs=1e-3)


def test_temporal_ensembling_over_three_epochs() -> None:
    """Z_t = a Z_{t-1} + (1 - a) z_t and its target Z_t / (1 - a^t), by hand."""
    network, batch = tiny()
    a, state, workers = 0.6, State(size=9), Workers()
    places = torch.tensor([8, 0, 3, 5, 1, 2, 7])  # two of nine examples are never seen
    method = {"name": "temporal", "weight": 4.0, "ramp": 0, "momentum": a}
    z_bar = torch.zeros(7, 3, dtype=torch.float64)
    for t in range(3):
        theta = theta_of(network)
        p = f(theta, batch.views[0])
        lost = ce(p, batch.labels)  # type: ignore[arg-type]
        if t:
            target = z_bar / (1 - a**t)
            lost = lost + 4 * ((probabilities(p) - target) ** 2).mean(1)
        agree(step(network, batch, method, state=state, places=places), gradient(lost.mean(), theta))
        z_bar = a * z_bar + (1 - a) * probabilities(p).detach()
        state.close_epoch(a, workers)
        with torch.no_grad():
            network.upper.bias += torch.tensor([0.3, -0.2, 0.1])
    assert state.ensemble is not None
    assert torch.allclose(state.ensemble[places].double(), z_bar, rtol=1e-6)
    assert not state.ensemble[[4, 6]].any()
