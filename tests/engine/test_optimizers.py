"""Each optimiser's first two steps, from its published formula in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.config import Trial
from engine.optimizers import build

CPU = torch.device("cpu")
START = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
GRADIENTS = [torch.tensor(g, dtype=torch.float64) for g in ([0.5, -1.0, 0.0], [0.1, 2.0, -0.3])]


def adam(
    w: Tensor,
    lr: float,
    decay: float = 0.0,
    decoupled: bool = False,
    betas: tuple[float, float] = (0.9, 0.999),
) -> Tensor:
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for t, g in enumerate(GRADIENTS, start=1):
        if decoupled:
            w = w - lr * decay * w
        else:
            g = g + decay * w
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2
        w = w - lr * (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + 1e-8)
    return w


def sgd(w: Tensor, lr: float, momentum: float = 0.0, nesterov: bool = False, decay: float = 0.0) -> Tensor:
    velocity = torch.zeros_like(w)
    for g in GRADIENTS:
        g = g + decay * w
        velocity = momentum * velocity + g
        w = w - lr * (g + momentum * velocity if nesterov else velocity)
    return w


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("adam", adam(START, 1e-3)),
        (
            {"name": "adam", "lr": 0.1, "weight_decay": 0.2, "betas": [0.5, 0.9]},
            adam(START, 0.1, 0.2, betas=(0.5, 0.9)),
        ),
        ("adamw", adam(START, 1e-3, 1e-2, decoupled=True)),
        ({"name": "adamw", "lr": 0.1, "weight_decay": 0.5}, adam(START, 0.1, 0.5, decoupled=True)),
        ("sgd", sgd(START, 0.1)),
        ({"name": "sgd", "lr": 0.3, "momentum": 0.9, "weight_decay": 0.1}, sgd(START, 0.3, 0.9, decay=0.1)),
        ({"name": "sgd", "lr": 0.3, "momentum": 0.9, "nesterov": True}, sgd(START, 0.3, 0.9, nesterov=True)),
    ],
)
def test_two_steps(make_trial: Callable[..., Trial], settings: Any, expected: Tensor) -> None:
    w = nn.Parameter(START.clone())
    optimizer = build(make_trial(optimizer=settings).optimizer, [w], CPU)
    for g in GRADIENTS:
        w.grad = g.clone()
        optimizer.step()
    assert torch.allclose(w.detach(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_the_learning_rate_is_a_tensor(make_trial: Callable[..., Trial], name: str) -> None:
    optimizer = build(
        make_trial(optimizer={"name": name, "lr": 0.25}).optimizer, [nn.Parameter(START.clone())], CPU
    )
    (group,) = optimizer.param_groups
    assert isinstance(group["lr"], Tensor)
    assert group["lr"].item() == 0.25


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_ours_are_torchs_bit_for_bit(make_trial: Callable[..., Trial], kind: Any) -> None:
    settings = {"name": kind.__name__.lower(), "lr": 0.1, "weight_decay": 0.01}
    ours, theirs = nn.Parameter(START.clone()), nn.Parameter(START.clone())
    built = build(make_trial(optimizer=settings).optimizer, [ours], CPU)
    torchs = kind([theirs], lr=torch.tensor(0.1), weight_decay=0.01, fused=True)
    assert isinstance(built, kind)
    for g in GRADIENTS:
        ours.grad, theirs.grad = g.clone(), g.clone()
        built.step()
        torchs.step()
        built.load_state_dict(built.state_dict())
    assert torch.equal(ours, theirs)
    assert built.state_dict()["param_groups"] == torchs.state_dict()["param_groups"]
    assert torch.is_grad_enabled()
