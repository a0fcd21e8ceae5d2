"""Attacks and weight perturbations against their formulas in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from engine.adversaries import adversarial_weights, attack, random_weights
from engine.data.examples import Batch
from engine.distributed import Workers
from engine.gradients import Gradients
from engine.objective import Aims
from engine.perturb.random import bernoulli, normal
from engine.slots.attack import Attack
from engine.slots.objective import Objective, Term
from engine.slots.slots import Slots
from engine.slots.weight import RandomRelative, Relative
from engine.state import State
from engine.turn import Point, Turn
from tests.engine.oracles import (
    HIDDEN,
    SEED,
    STEP,
    WEIGHTS,
    Named,
    by_x,
    ce,
    clipped,
    dropped,
    f,
    gradient,
    kl,
    pgd,
    rows_norm,
    start_gaussian,
    start_uniform,
    step,
    theta_of,
    tiny,
)  # fmt: skip

AT = Objective(natural=0.0, terms=(Term(branch="attack", divergence="ce"),))
SIZES = {"l1": lambda t: t.abs().sum(), "l2": lambda t: t.norm()}


def setting(network: nn.Module, batch: Batch, slots: Slots) -> tuple[Turn, Gradients]:
    assert batch.labels is not None
    turn = Turn(batch, Aims(batch.labels, len(batch), len(batch)), STEP, 1 / len(batch))
    return turn, Gradients(network, slots, SEED, Workers(), "float32", State())


def attacked(network: nn.Module, batch: Batch, slot: Attack) -> Tensor:
    return attack(slot, *setting(network, batch, Slots(input=slot, objective=AT)))


def by_formula(network: nn.Module, batch: Batch, slot: Attack) -> Tensor:
    """x' - x, each step written out."""
    theta, x, e = theta_of(network), batch.views[0], 1.0
    start = {
        "zero": torch.zeros_like(x),
        "gaussian": start_gaussian(batch, slot.start_size),
        "uniform": start_uniform(batch, slot.epsilon * slot.start_size),
    }[slot.start]
    mask = bernoulli(SEED, STEP, "attack", batch.index, tuple(x.shape), slot.p)
    at_x = f(theta, x, e).detach()

    def loss(moved: Tensor) -> Tensor:
        q = f(theta, moved, e)
        return kl(at_x, q) if slot.against == "prediction" else ce(q, batch.labels)  # type: ignore[arg-type]

    def inside(r: Tensor) -> Tensor:
        if slot.norm == "linf":
            r = r.clip(-slot.epsilon, slot.epsilon)
        else:
            r = r * (slot.epsilon / rows_norm(r).clip(min=slot.epsilon))
        return r if slot.clamp is None else clipped(x + r, x, slot.clamp) - x

    r = mask * inside(start)
    for _ in range(slot.steps):
        g = by_x(loss, x + r)
        r = inside(r + mask * slot.alpha * (g.sign() if slot.norm == "linf" else g / rows_norm(g)))
    return r


FROM_PREDICTION = {"against": "prediction"}
ATTACKS: list[dict[str, Any]] = [
    {"steps": 1, "start": "zero", "epsilon": 0.1},
    {"steps": 5, "epsilon": 0.2, "step_size": 0.07},
    {"steps": 5, "epsilon": 0.2, "step_size": 0.07, "clamp": None},
    {"steps": 5, "epsilon": 0.2, "step_size": 0.07, "clamp": (0.2, 0.7)},
    {"steps": 4, "epsilon": 0.2, "step_size": 0.07, "p": 0.5},
    {"steps": 4, "start": "gaussian", "start_size": 0.001, "step_size": 0.03, **FROM_PREDICTION},
    {"steps": 4, "norm": "l2", "epsilon": 0.5, "step_size": 0.2, "start": "zero", "clamp": None},
    {"steps": 4, "norm": "l2", "epsilon": 0.5, "step_size": 0.2, "start": "gaussian", "start_size": 0.3},
    {"steps": 3, "norm": "l2", "epsilon": 0.5, "step_size": 0.2, "start": "zero", "p": 0.4, "clamp": None},
    {"steps": 4, "norm": "l2", "epsilon": 0.5, "step_size": 0.2, "start": "gaussian", **FROM_PREDICTION},
]  # fmt: skip


@pytest.mark.parametrize("settings", ATTACKS)
def test_an_attack_is_its_formula(settings: dict[str, Any]) -> None:
    network, batch = tiny()
    slot = Attack(kind="attack", **settings)
    found, expected = attacked(network, batch, slot), by_formula(network, batch, slot)
    assert float((found - expected).norm() / expected.norm()) < 1e-6
    assert float(found.abs().max()) > 0.01


def test_the_start_in_an_l2_ball_has_a_gaussian_direction_and_a_uniform_radius() -> None:
    network, _ = tiny()
    many = Batch((torch.full((4000, 1, 2, 3), 0.5).double(),), torch.zeros(4000).long(), torch.arange(4000))
    slot = Attack(kind="attack", norm="l2", epsilon=0.4, steps=1, step_size=1e-12, clamp=None)
    r = attacked(network, many, slot).flatten(1)
    radius = r.norm(dim=1)
    assert float(radius.max()) <= 0.4 * (1 + 1e-6)
    assert float(radius.mean()) == pytest.approx(0.2, abs=0.01)
    assert float((radius < 0.1).double().mean()) == pytest.approx(0.25, abs=0.03)
    assert float((r / radius[:, None]).mean(0).abs().max()) < 0.03, "no preferred direction"


def test_an_attack_in_train_mode_has_the_dropout_masks_of_the_step() -> None:
    network, batch = tiny(p=0.5)
    theta, x, e = theta_of(network), batch.views[0], dropped(0.5, batch) * 2
    slot = Attack(kind="attack", epsilon=0.2, steps=3, step_size=0.1, start="zero")
    expected = pgd(lambda m: ce(f(theta, m, e), batch.labels), x, torch.zeros_like(x), 3, 0.2, 0.1) - x  # type: ignore[arg-type]
    plain = pgd(lambda m: ce(f(theta, m), batch.labels), x, torch.zeros_like(x), 3, 0.2, 0.1) - x  # type: ignore[arg-type]
    assert torch.allclose(attacked(network, batch, slot), expected, atol=1e-9)
    assert torch.allclose(
        attacked(network, batch, slot.model_copy(update={"mode": "eval"})), plain, atol=1e-9
    )
    assert network.training
    assert not torch.allclose(plain, expected, atol=1e-2)


def test_chosen_rows_are_attacked_as_in_the_whole_batch() -> None:
    network, batch = tiny(p=0.5)
    slot = Attack(kind="attack", epsilon=0.2, steps=3, step_size=0.1)
    whole = attacked(network, batch, slot)
    some = Batch(batch.views, batch.labels, batch.index, chosen=torch.tensor([1, 4]))
    few = attacked(network, some, slot)
    assert torch.equal(few[[1, 4]], whole[[1, 4]])
    assert not few[[0, 2, 3, 5, 6]].any()


class Backwards(TorchDispatchMode):
    """Which gradients each convolution's and matrix product's backward pass was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: list[list[bool]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default:
            self.masks.append(list(args[-1]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("against", ["labels", "prediction"])
def test_attacks_never_compute_parameter_gradients(make_network: Any, against: Any) -> None:
    network, batch = make_network({"name": "lenet5_8x8"})
    slot = Attack(kind="attack", steps=3, against=against)
    called = []
    handles = [w.register_hook(lambda g: called.append(g.shape)) for w in network.parameters()]
    with Backwards() as seen:
        attacked(network, batch, slot)
    assert len(seen.masks) == 2 * 3
    assert all(mask == [True, False, False] for mask in seen.masks), "input, weight, bias"
    assert not called
    assert all(w.grad is None for w in network.parameters())
    with Backwards() as seen:
        step(network, batch, Slots(input=slot, objective=AT))
    assert sum(mask[1] for mask in seen.masks) == 2, "the one pass that is learnt from"
    for handle in handles:
        handle.remove()


def awp_by_formula(network: nn.Module, batch: Batch, slot: Relative, pixel: Attack) -> tuple[Named, Tensor]:
    """M * v and x', after Algorithm 2."""
    w = {n: t.detach() for n, t in network.named_parameters() if n in slot.targets}
    size, x = SIZES[slot.size_norm], batch.views[0]
    mask = {
        n: bernoulli(SEED, STEP, n, torch.arange(len(t)), tuple(t.shape), slot.p).double()
        for n, t in w.items()
    }
    v = {n: torch.zeros_like(t) for n, t in w.items()}
    eta = slot.gamma / (slot.alternations * slot.steps) if slot.step_size is None else slot.step_size
    for _ in range(slot.alternations):
        at = theta_of(network, {n: mask[n] * v[n] for n in v})
        moved = pgd(
            lambda m, at=at: ce(f(at, m), batch.labels), x,  # type: ignore[misc, arg-type]
            start_uniform(batch, pixel.epsilon), pixel.steps, pixel.epsilon, pixel.alpha,
        )  # fmt: skip
        for _ in range(slot.steps):
            at = theta_of(network, {n: mask[n] * v[n] for n in v})
            g = gradient(ce(f(at, moved), batch.labels).mean(), at)  # type: ignore[arg-type]
            v = {n: v[n] + eta * g[n] / size(g[n]) * size(w[n]) for n in v}
            v = {n: t * min(1.0, float(slot.gamma * size(w[n]) / size(t))) for n, t in v.items()}
    return {n: mask[n] * v[n] for n in v}, moved - x


PIXEL = Attack(kind="attack", epsilon=0.1, steps=3, step_size=0.04)
RELATIVE: list[dict[str, Any]] = [
    {},
    {"steps": 3},
    {"alternations": 3},
    {"alternations": 2, "steps": 2},
    {"steps": 4, "step_size": 0.04},
    {"size_norm": "l1", "steps": 2},
    {"p": 0.5, "steps": 2, "alternations": 2},
    {"targets": ("upper.weight",), "steps": 2},
]


@pytest.mark.parametrize("settings", RELATIVE)
def test_adversarial_weights_are_algorithm_2(settings: dict[str, Any]) -> None:
    network, batch = tiny()
    slot = Relative(**{"kind": "relative", "gamma": 0.05, "targets": WEIGHTS, **settings})
    before = {n: w.detach().clone() for n, w in network.named_parameters()}
    turn, gradients = setting(network, batch, Slots(input=PIXEL, weight=slot, objective=AT))
    found, point = adversarial_weights(slot, turn, Point(), gradients, PIXEL)
    expected, r = awp_by_formula(network, batch, slot, PIXEL)
    assert all(torch.equal(before[n], w) for n, w in network.named_parameters()), "restored bit for bit"
    assert found.keys() == expected.keys()
    for name in expected:
        assert float((found[name] - expected[name]).norm() / expected[name].norm()) < 1e-6
    assert point.attack is not None
    assert torch.allclose(point.attack, r, atol=1e-9)
    size = SIZES[slot.size_norm]
    for name, t in found.items():
        share = float(size(t) / size(before[name]))
        if not settings:
            assert share == pytest.approx(slot.gamma, rel=1e-6), "on the sphere for A = K2 = 1"
        assert share <= slot.gamma * (1 + 1e-6), "never beyond"


def test_the_last_attack_is_made_before_the_last_steps_of_the_weights() -> None:
    network, batch = tiny()
    found = []
    for alternations in (1, 2):
        slot = Relative(kind="relative", gamma=0.3, targets=WEIGHTS, alternations=alternations)
        turn, gradients = setting(network, batch, Slots(input=PIXEL, weight=slot, objective=AT))
        found.append(adversarial_weights(slot, turn, Point(), gradients, PIXEL)[1].attack)
    assert torch.equal(found[0], attacked(network, batch, PIXEL)), "v = 0 in the first"  # type: ignore[arg-type]
    assert not torch.equal(found[0], found[1])  # type: ignore[arg-type]


def test_random_weights() -> None:
    network, batch = tiny()
    slot = RandomRelative(kind="random", gamma=0.5, targets=WEIGHTS)
    found = random_weights(slot, *setting(network, batch, Slots(weight=slot)))
    for name in WEIGHTS:
        w = network.get_parameter(name).detach()
        d = normal(SEED, STEP, f"rwp:{name}", torch.arange(len(w)), tuple(w.shape)).double()
        assert torch.allclose(found[name], 0.5 * w.norm() * d / d.norm(), rtol=1e-6)
    assert found["under.weight"].shape == (HIDDEN, 6)
