"""Schedules against their formulas, and what happens between a step's gradients and its weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.config import Trial
from engine.distributed import Workers
from engine.optimizers import Updates, build
from engine.slots.slots import Slots
from engine.step import Stepper
from engine.train import train
from engine.update import SCHEDULES, Schedule
from tests.engine.oracles import SEED, Named, Tiny, agree, gradient, slots_of, theta_of, tiny

Make = Callable[..., Trial]
CPU = torch.device("cpu")


def schedule(name: str, **settings: Any) -> Schedule:
    return SCHEDULES[name].model_validate({"name": name, **settings})


FACTORS: list[tuple[Schedule, Callable[[float], float]]] = [
    (schedule("constant"), lambda t: 1.0),
    (schedule("piecewise"), lambda t: 1.0 if t < 100 else 0.1 if t < 150 else 0.01),
    (schedule("piecewise", at=[0.25], decay=0.5), lambda t: 1.0 if t < 50 else 0.5),
    (schedule("cosine"), lambda t: 0.5 * (math.cos(math.pi * t / 200) + 1)),
    (schedule("cyclic"), lambda t: float(np.interp(t, [0, 80, 200], [0, 1, 0]))),
    (schedule("cyclic", peak=0.1), lambda t: float(np.interp(t, [0, 20, 200], [0, 1, 0]))),
    (
        schedule("ramps"),
        lambda t: math.exp(-5 * (1 - min(t, 80) / 80) ** 2) * math.exp(-(max(0, t - 150) ** 2) / 4 / 50),
    ),
    (schedule("ramps", up=0, down=0), lambda t: 1.0),
]


@pytest.mark.parametrize(("settings", "factor"), FACTORS)
def test_schedules(settings: Schedule, factor: Callable[[float], float]) -> None:
    for t in (0, 0.5, 19.75, 20, 49, 50, 79.5, 80, 99.99, 100, 149.5, 150, 175.25, 199.99):
        assert settings.factor(t, 200) == pytest.approx(factor(t), rel=1e-12, abs=1e-15)


def test_beta1_falls_with_the_learning_rate() -> None:
    ramps: Any = schedule("ramps")
    assert ramps.betas((0.9, 0.999), 100, 200) == (0.9, 0.999)
    share = math.exp(-(40**2) / 4 / 50)
    assert ramps.betas((0.9, 0.999), 190, 200) == pytest.approx((0.9 * share + 0.5 * (1 - share), 0.999))


def updates(make_trial: Make, network: nn.Module, slots: Slots | None = None, **settings: Any) -> Updates:
    trial = make_trial(**settings)
    optimizer = build(trial.optimizer, network.parameters(), CPU)
    return Updates(trial, optimizer, network, Stepper(network, slots or Slots(), SEED, Workers()))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("settings", [settings for settings, _ in FACTORS])
def test_the_optimiser_follows_the_schedule(make_trial: Make, name: str, settings: Schedule) -> None:
    found = updates(make_trial, tiny()[0], optimizer={"name": name, "lr": 0.5}, schedule=settings, epochs=200)
    for t in (0.0, 60.5, 190.0):
        found.begin(t)
        (group,) = found.optimizer.param_groups
        assert float(group["lr"]) == pytest.approx(0.5 * settings.factor(t, 200), rel=1e-6)
        if name != "sgd" and settings.name == "ramps":
            assert group["betas"] == settings.betas((0.9, 0.999), t, 200)  # type: ignore[attr-defined]


def test_a_schedule_moves_within_an_epoch(make_trial: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    plain = Updates.take

    def record(self: Updates) -> None:
        seen.append(float(self.optimizer.param_groups[0]["lr"]))
        plain(self)

    monkeypatch.setattr(Updates, "take", record)
    train(make_trial(schedule="cosine", optimizer={"name": "sgd", "lr": 1.0}))  # 2 epochs of 3 steps
    assert seen == pytest.approx([(1 + math.cos(math.pi * i / 6)) / 2 for i in range(6)], rel=1e-6)


def set_gradients(network: nn.Module) -> Named:
    torch.manual_seed(5)
    for w in network.parameters():
        w.grad = torch.randn_like(w)
    return {n: w.grad.clone() for n, w in network.named_parameters() if w.grad is not None}


@pytest.mark.parametrize("penalty", [{"l1": 0.3}, {"l2": 0.2}, {"l1": 0.1, "l2": 0.7}])
def test_penalties_are_gradients_of_a_sum_over_weights(make_trial: Make, penalty: dict[str, float]) -> None:
    network, _ = tiny()
    g, theta = set_gradients(network), theta_of(network)
    l1, l2 = penalty.get("l1", 0.0), penalty.get("l2", 0.0)
    matrices = (theta["under.weight"], theta["upper.weight"])
    penalised = gradient(sum(l1 * w.abs().sum() + l2 / 2 * (w**2).sum() for w in matrices) + 0 * sum(  # type: ignore[arg-type]
        w.sum() for w in theta.values()), theta)  # fmt: skip
    updates(make_trial, network, regularise=penalty, optimizer={"name": "sgd", "lr": 0.5}).take()
    found = {n: w.detach() for n, w in network.named_parameters()}
    agree(found, {n: theta[n].detach() - 0.5 * (g[n] + penalised[n]) for n in g})


@pytest.mark.parametrize(("name", "equal"), [("sgd", True), ("adam", True), ("adamw", False)])
def test_l2_is_coupled_weight_decay(make_trial: Make, name: str, equal: bool) -> None:
    found = []
    for decay, penalty in ((0.3, {}), (0.0, {"l2": 0.3})):
        network = nn.Sequential(nn.Linear(4, 3, bias=False))
        with torch.no_grad():
            network[0].weight.copy_(torch.arange(12.0).view(3, 4) / 7 - 0.8)
        optimizer = {"name": name, "lr": 0.1, "weight_decay": decay}
        stepping = updates(make_trial, network, optimizer=optimizer, regularise=penalty)
        for i in range(3):
            network[0].weight.grad = torch.cos(torch.arange(12.0) + i).view(3, 4)
            stepping.take()
        found.append(network[0].weight.detach())
    assert torch.allclose(*found, rtol=1e-5, atol=1e-7) == equal


class Reference:
    """The released code's way: the optimiser itself steps at w + v, and v is taken off again."""

    def __init__(self, network: Tiny, settings: dict[str, Any]) -> None:
        kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        options = {k: v for k, v in settings.items() if k != "name"}
        self.network, self.optimizer = network, kinds[settings["name"]](network.parameters(), **options)

    def step(self, g: Named, v: Named, centre: bool) -> None:
        with torch.no_grad():
            for n, w in self.network.named_parameters():
                w.grad = g[n].clone()
                w += v[n] if n in v and not centre else 0
        self.optimizer.step()
        with torch.no_grad():
            for n, w in self.network.named_parameters():
                w -= v[n] if n in v and not centre else 0


@pytest.mark.parametrize("place", ["perturbed", "centre"])
@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.2},
        {"name": "adam", "lr": 0.05, "weight_decay": 0.2},
        {"name": "adamw", "lr": 0.05, "weight_decay": 0.2},
    ],
)
def test_weight_decay_acts_at_the_perturbed_weights_or_at_the_centre(
    make_trial: Make, optimizer: dict[str, Any], place: Any
) -> None:
    """AWP, Eq. 11 by an optimiser that steps at w + v (as the released code does), over four steps."""
    network, batch = tiny()
    slots = slots_of({"name": "at_awp", "weight": {"kind": "relative", "gamma": 0.3, "decay_at": place}})
    stepping = updates(make_trial, network, slots, optimizer=optimizer)
    other = Reference(tiny()[0], optimizer)
    for number in range(4):
        stepping.begin(0.0)
        stepping.stepper.gradients(batch, number, len(batch))
        g = {n: w.grad.clone() for n, w in network.named_parameters() if w.grad is not None}
        v: dict[str, Tensor] = dict(stepping.stepper.shifted)
        assert bool(v) == (place == "perturbed")
        stepping.take()
        other.step(g, v, centre=place == "centre")
        agree({n: w.detach() for n, w in network.named_parameters()},
              {n: w.detach() for n, w in other.network.named_parameters()})  # fmt: skip
