"""Compositions that no paper tried, by settings alone: each trains, and each of its slots does something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.config import Trial
from engine.data.examples import Batch
from engine.perturb.random import bernoulli
from engine.slots.slots import Slots
from engine.train import train
from tests.engine.oracles import (
    SEED,
    STEP,
    WEIGHTS,
    Tiny,
    agree,
    ce,
    f,
    gradient,
    kl,
    slots_of,
    start_gaussian,
    step,
    theta_of,
    tiny,
)
from tests.engine.oracles import pgd as by_pgd

Make = Callable[..., Trial]
AWP = {"kind": "relative", "gamma": 0.05}
KL = {"branch": "attack", "divergence": "kl", "weight": 6.0}
TRADES_X = {"kind": "attack", "against": "prediction", "start": "gaussian", "start_size": 0.01,
            "mode": "eval", "epsilon": 0.1, "step_size": 0.03, "steps": 3}  # fmt: skip
VADD = {
    "dropout": {"site": "dropout", "delta": 0.2, "views": 2},
    "objective": {"terms": [{"branch": "dropout", "divergence": "kl"}]},
}
AT = {"natural": 0.0, "terms": [{"branch": "attack", "divergence": "ce"}]}
PGD = {"kind": "attack", "epsilon": 0.1, "step_size": 0.04, "steps": 3}
COMPOSED: dict[str, dict[str, Any]] = {
    "masked AWP": {"input": PGD, "weight": {**AWP, "p": 0.5}, "objective": AT},
    "VAdD with AWP": {**VADD, "weight": AWP},
    "selection under DropAttack": {
        "selection": {"n": 20},
        "input": {"targets": ["input"], "epsilon": 2.0, "p": 0.5},
        "weight": {"targets": ["conv1.w"], "epsilon": 0.5, "p": 0.5},
    },
    "DropAttack under TRADES": {
        "input": TRADES_X,
        "weight": {"targets": ["conv1.w"], "epsilon": 0.5, "p": 0.5, "steps": 2},
        "objective": {"terms": [KL]},
    },
    "DropAttack on both beside VAdD": {
        **VADD,
        "input": {"targets": ["input"], "epsilon": 2.0, "p": 0.5},
        "weight": {"targets": ["conv1.w"], "epsilon": 0.5, "p": 0.5},
    },
    "Pi model with RWP": {
        "weight": {"kind": "random", "gamma": 0.3},
        "objective": {"terms": [{"branch": "view", "divergence": "squared", "weight": 5.0}]},
    },
}
PLACES = ("selection", "input", "weight", "dropout")
CASES = [(name, place) for name, method in COMPOSED.items() for place in PLACES if place in method]
SETTINGS: dict[str, Any] = {
    "model": {"name": "lenet5_8x8", "dropout": 0.3},
    "augment": {"noise": 0.1},
    "optimizer": {"name": "adam", "lr": 0.01},
}


def without(method: dict[str, Any], place: str) -> dict[str, Any]:
    """The method with one slot left empty, and the terms of its objective that need it."""
    rest = {name: slot for name, slot in method.items() if name != place}
    branch = {"input": "attack", "dropout": "dropout"}.get(place)
    if "objective" in rest:
        terms = [t for t in rest["objective"]["terms"] if t["branch"] != branch]
        rest["objective"] = {"natural": 1.0, "terms": terms}
    return rest


@pytest.mark.parametrize(("name", "place"), CASES)
def test_every_slot_does_something(make_trial: Make, name: str, place: str) -> None:
    method = COMPOSED[name]
    full, reduced = (train(make_trial(method=m, **SETTINGS)) for m in (method, without(method, place)))
    assert full.status == "completed"
    assert full.history[-1]["val.loss"] != pytest.approx(reduced.history[-1]["val.loss"], rel=2e-5)


def test_p_of_masked_awp_matters(make_trial: Make) -> None:
    found = []
    for p in (0.2, 0.5, 1.0):
        method = {"input": PGD, "weight": {**AWP, "p": p}, "objective": AT}
        found.append(train(make_trial(method=method, **SETTINGS)).history[-1]["val.loss"])
    assert len(set(found)) == 3


@pytest.mark.parametrize("name", COMPOSED)
def test_passes_are_counted(make_trial: Make, make_network: Callable[..., Any], name: str) -> None:
    from engine.distributed import Workers
    from engine.step import Stepper

    network, batch = make_network(SETTINGS["model"])
    batch = Batch(batch.views, batch.labels, batch.index, chosen=torch.tensor([1, 2]))
    count: list[int] = []
    network.register_forward_hook(lambda module, given, logits: count.append(1))
    slots = make_trial(method=COMPOSED[name], **SETTINGS).slots
    Stepper(network, slots, 0, Workers()).gradients(batch, 0, 6)
    assert len(count) == slots.passes


def tiny_batch(views: int = 1) -> tuple[Tiny, Batch, torch.Tensor]:
    network, batch = tiny(views=views)
    assert batch.labels is not None
    return network, batch, batch.labels


def test_dropattack_under_trades_is_the_sum_of_its_passes() -> None:
    """L(theta) + L(theta + M r), r = epsilon g / ||g||, with L TRADES' loss at one x'."""
    network, batch, y = tiny_batch()
    method = {
        "input": TRADES_X,
        "weight": {"targets": ["under.weight"], "epsilon": 0.5, "p": 0.5},
        "objective": {"terms": [KL]},
    }
    theta, x = theta_of(network), batch.views[0]
    still = {n: w.detach() for n, w in theta.items()}
    p = f(still, x)
    moved = by_pgd(lambda m: kl(p, f(still, m)), x, start_gaussian(batch, 0.01), 3, 0.1, 0.03)

    def trades(at: Any) -> torch.Tensor:
        return (ce(f(at, x), y) + 6 * kl(f(at, x), f(at, moved))).mean()

    g = gradient(trades(theta), theta)
    w = still["under.weight"]
    mask = bernoulli(SEED, STEP, "under.weight", torch.arange(len(w)), tuple(w.shape), 0.5)
    r = mask * 0.5 * g["under.weight"] / g["under.weight"].norm()
    there = {**theta, "under.weight": theta["under.weight"] + r}
    found = gradient(trades(theta) + trades(there), theta)
    agree(step(network, batch, method), found)


def test_vadd_with_awp_learns_at_the_worst_weights_of_its_own_objective() -> None:
    network, batch, y = tiny_batch(views=2)
    slots: Slots = slots_of(
        {**VADD, "weight": AWP, "objective": {"terms": [{"branch": "dropout", "divergence": "kl"}]}}
    )
    theta, (x1, x2) = theta_of(network), batch.views

    def loss(at: Any) -> torch.Tensor:
        e = torch.ones(7, 8, dtype=torch.float64, requires_grad=True)
        still = {n: w.detach() for n, w in at.items()}
        j = torch.autograd.grad(kl(f(still, x1), f(still, x2, e)).sum(), e)[0]
        mask = torch.ones_like(e).detach()
        for row, gain in zip(mask, j, strict=True):
            row[int(gain.argmin())] = float(gain.min() >= 0)
        mask = mask * 8 / mask.sum(1, keepdim=True)
        return (ce(f(at, x1), y) + kl(f(at, x1), f(at, x2, mask))).mean()

    g = gradient(loss(theta), theta)
    v = {n: 0.05 * theta[n].detach().norm() * g[n] / g[n].norm() for n in WEIGHTS}
    there = {n: w + v.get(n, 0) for n, w in theta.items()}
    agree(step(network, batch, slots), gradient(loss(there), theta))


def test_branches_are_compared_where_an_ascent_has_moved_the_input() -> None:
    """L(x) + L(x + r) with L = CE + KL from a second view: both copies are moved by r."""
    network, batch, y = tiny_batch(views=2)
    method = {
        "input": {"targets": ["input"], "epsilon": 0.5},
        "objective": {"terms": [{"branch": "view", "divergence": "kl", "weight": 3.0}]},
    }
    theta, (x1, x2) = theta_of(network), batch.views
    r = torch.zeros_like(x1).requires_grad_()

    def loss(r: torch.Tensor) -> torch.Tensor:
        return (ce(f(theta, x1 + r), y) + 3 * kl(f(theta, x1 + r), f(theta, x2 + r))).mean()

    g = torch.autograd.grad(loss(r), r)[0]
    agree(step(network, batch, method), gradient(loss(r.detach()) + loss(0.5 * g / g.norm()), theta))
