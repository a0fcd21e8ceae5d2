"""One equation per method, on a linear model and numbers worked out by hand.

The model is logits = W x + b with W = [[ln 3, 0], [0, 0]], b = 0, and the batch one example x = (1, 0) of
class 0. Then softmax(logits) = (3/4, 1/4), so that with d = softmax - onehot = (-1/4, 1/4)

    grad b = d,   grad W = d x^T = [[-1/4, 0], [1/4, 0]],   grad x = W^T d = (-ln 3 / 4, 0).

Perturbations are chosen such that the perturbed logits are (0, 0) or (-ln 3, 0), where d is (-1/2, 1/2) or
(-3/4, 3/4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.data.examples import Batch
from engine.distributed import Workers
from engine.methods.base import Composition, Preset
from engine.models.base import ModelInfo
from engine.perturb.random import bernoulli
from engine.slots.ascent import Ascent, InputAscent
from engine.slots.slots import Slots
from engine.step import Stepper

LN3 = math.log(3)
LINEAR = ModelInfo({}, {}, ("weight", "bias"), {})
ALL_W = math.sqrt(2) * LN3  # moves both rows of W by ln 3: logits (ln 3, 0) become (0, ln 3)


class Linear(nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 2, dtype=torch.float64)
        with torch.no_grad():
            self.weight.copy_(torch.tensor([[LN3, 0.0], [0.0, 0.0]]))
            self.bias.zero_()


def one_example() -> Batch:
    return Batch((torch.tensor([[1.0, 0.0]], dtype=torch.float64),), torch.tensor([0]), torch.tensor([5]))


def update(slots: Slots, step: int = 0) -> tuple[list[float], list[float]]:
    """First column of grad W and grad b of the update; the second column is zero, since x_2 = 0."""
    network = Linear()
    Stepper(network, slots, seed=0, workers=Workers()).gradients(one_example(), step, 1)
    assert network.weight.grad is not None
    assert network.bias.grad is not None
    assert network.weight.grad[:, 1].tolist() == [0.0, 0.0]
    return network.weight.grad[:, 0].tolist(), network.bias.grad.tolist()


def of(method: dict[str, Any]) -> Slots:
    """A preset on the linear model."""
    from engine.components import find

    preset = find("methods", method["name"], "method.name").model_validate(method)  # type: ignore[attr-defined]
    assert isinstance(preset, Preset)
    return preset.slots(LINEAR).collapsed()


def near(found: tuple[list[float], list[float]], w: list[float], b: list[float]) -> bool:
    return found[0] == pytest.approx(w, rel=1e-6, abs=1e-7) and found[1] == pytest.approx(b, rel=1e-6)


def test_standard_is_the_clean_gradient() -> None:
    assert near(update(of({"name": "standard"})), [-1 / 4, 1 / 4], [-1 / 4, 1 / 4])


def test_fgm_adds_the_gradient_at_the_perturbed_input() -> None:
    # r = 2 (-1, 0): x + r = (-1, 0), logits (-ln 3, 0), d = (-3/4, 3/4), grad W = d (-1) = (3/4, -3/4).
    found = update(of({"name": "fgm", "epsilon": 2}))
    assert near(found, [-1 / 4 + 3 / 4, 1 / 4 - 3 / 4], [-1 / 4 - 3 / 4, 1 / 4 + 3 / 4])


def test_pgd_learns_from_the_clean_and_the_last_pass() -> None:
    # r^0 = (-1, 0), logits (0, 0); r^1 = (-2, 0), logits (-ln 3, 0): what FGM finds with radius 2.
    found = update(of({"name": "pgd", "epsilon": 5, "step_size": 1, "steps": 2}))
    assert near(found, [1 / 2, -1 / 2], [-1.0, 1.0])


def test_pgd_projects_onto_the_ball() -> None:
    # r^0 = (-3/2, 0); r^1 = (-3, 0), outside the ball of radius 2, is projected to (-2, 0).
    found = update(of({"name": "pgd", "epsilon": 2, "step_size": 1.5, "steps": 2}))
    assert near(found, [1 / 2, -1 / 2], [-1.0, 1.0])


def test_dropattack_algorithm_1() -> None:
    # Weights: r = sqrt(2) ln 3 (-1, 1) / sqrt(2), so W_11 = 0 and W_21 = ln 3: logits (0, ln 3),
    # d = (-3/4, 3/4) and grad W = d. Input as FGM's. Sum: clean + input + weight.
    method = {
        "name": "dropattack",
        "targets": ["input", "weight"],
        "epsilon": {"input": 2, "weight": ALL_W},
        "p": 1,
    }
    assert near(update(of(method)), [-1 / 4 + 3 / 4 - 3 / 4, 1 / 4 - 3 / 4 + 3 / 4], [-7 / 4, 7 / 4])


def test_dropattack_clean_weight_2() -> None:
    method = {"name": "dropattack", "epsilon": 2, "p": 1, "clean_weight": 2}
    assert near(update(of(method)), [-2 / 4 + 3 / 4, 2 / 4 - 3 / 4], [-2 / 4 - 3 / 4, 2 / 4 + 3 / 4])


def masks_at(step: int) -> tuple[bool, bool, bool]:
    """Whether x_1, W_11 and W_21 are attacked at p = 1/2."""
    x = bernoulli(0, step, "input", torch.tensor([5]), (1, 2), 0.5)
    w = bernoulli(0, step, "weight", torch.arange(2), (2, 2), 0.5)
    return bool(x[0, 0]), bool(w[0, 0]), bool(w[1, 0])


@pytest.mark.parametrize(
    ("masks", "w", "b"),
    [
        ((False, True, False), [-1 / 4 - 1 / 4 - 1 / 2, 1.0], [-1.0, 1.0]),  # x as it was; W_11 = 0
        ((True, False, False), [-1 / 4 + 3 / 4 - 1 / 4, -1 / 4], [-5 / 4, 5 / 4]),  # W as it was
        ((True, True, True), [-1 / 4 + 3 / 4 - 3 / 4, 1 / 4], [-7 / 4, 7 / 4]),
    ],
)
def test_dropattack_masks_what_it_adds(
    masks: tuple[bool, bool, bool], w: list[float], b: list[float]
) -> None:
    step = next(s for s in range(1000) if masks_at(s) == masks)
    epsilon = {"input": 2, "weight": ALL_W}
    method = {"name": "dropattack", "targets": ["input", "weight"], "epsilon": epsilon, "p": 0.5}
    assert near(update(of(method), step), w, b)


@pytest.mark.parametrize(("change", "at"), [("replace", -LN3), ("accumulate", -3 * LN3)])
def test_dropattack_2_replaces_or_accumulates(change: str, at: float) -> None:
    # r^0 = (-2, 0), logits (-ln 3, 0), grad x = ln 3 (-3/4, 0): the direction stays (-1, 0), so that
    # r^1 = (-2, 0) where it is replaced, (-4, 0) and logits (-3 ln 3, 0), d = (-27/28, 27/28), where not.
    method = {"name": "dropattack", "epsilon": 2, "p": 1, "steps": 2, "update": change}
    x, d = at / LN3, 1 - 1 / (1 + math.exp(-at))
    w, b = -1 / 4 + (3 / 4 - d * x) / 2, -1 / 4 - (3 / 4 + d) / 2
    assert near(update(of(method)), [w, -w], [b, -b])


def counting(network: nn.Module) -> dict[str, int]:
    """Forward passes, backward passes and gradients that reached the network's first parameter."""
    counts = {"forward": 0, "backward": 0, "learnt": 0}

    def add(name: str) -> None:
        counts[name] += 1

    def forward(module: nn.Module, inputs: Any, logits: Tensor) -> None:
        add("forward")
        logits.register_hook(lambda g: add("backward"))  # type: ignore[no-untyped-call]

    network.register_forward_hook(forward)
    next(network.parameters()).register_hook(lambda g: add("learnt"))  # type: ignore[no-untyped-call]
    return counts


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_dropattack_takes_1_plus_2k_passes(make_network: Callable[..., Any], steps: int) -> None:
    network, batch = make_network({"name": "lenet5_8x8"})
    counts = counting(network)
    weight = Ascent(targets=("conv2.weight",), epsilon=1.0, p=0.5, steps=steps)
    slots = Slots(input=InputAscent(targets=("input",), epsilon=1.0, p=0.5, steps=steps), weight=weight)
    Stepper(network, slots, 0, Workers()).gradients(batch, 0, 6)
    assert counts == dict.fromkeys(counts, 1 + 2 * steps)
    assert slots.passes == 1 + 2 * steps


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_pgd_takes_no_weight_gradients_in_between(make_network: Callable[..., Any], steps: int) -> None:
    network, batch = make_network({"name": "lenet5_8x8"})
    counts = counting(network)
    Stepper(network, of({"name": "pgd", "steps": steps}), 0, Workers()).gradients(batch, 0, 6)
    assert counts == {"forward": 1 + steps, "backward": 1 + steps, "learnt": 2}


class Saved:
    """A tensor that a graph keeps for its backward pass."""

    alive = 0

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        Saved.alive += 1

    def __del__(self) -> None:
        Saved.alive -= 1


def test_one_graph_is_alive_at_a_time(make_network: Callable[..., Any]) -> None:
    network, batch = make_network({"name": "lenet5_8x8"})
    before, after = [], []
    network.register_forward_pre_hook(lambda module, inputs: before.append(Saved.alive))
    network.register_forward_hook(lambda module, inputs, logits: after.append(Saved.alive))
    method = {
        "input": {"targets": ["input"], "epsilon": 1, "p": 0.5, "steps": 3, "learn_from": "last"},
        "weight": {"targets": ["conv1.*"], "epsilon": 1, "p": 0.5, "steps": 3},
    }
    names = tuple(name for name, _ in network.named_parameters())
    slots = Composition.model_validate(method).slots(ModelInfo({}, {}, names, {}))
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        Stepper(network, slots, 0, Workers()).gradients(batch, 0, 6)
    assert before == [0] * 7
    assert min(after) > 0


@pytest.fixture
def attacked(make_network: Callable[..., Any]) -> tuple[nn.Module, Batch, Stepper]:
    network, batch = make_network({"name": "lenet5_8x8"})
    weight = Ascent(targets=("conv1.weight", "fc3.bias"), epsilon=3.0, p=0.5, steps=3)
    slots = Slots(input=InputAscent(targets=("input",), epsilon=3.0, p=0.5, steps=3), weight=weight)
    return network, batch, Stepper(network, slots, 0, Workers())


@pytest.mark.parametrize("fail_at", [None, 0, 2, 4, 6])
def test_weights_are_restored_bit_for_bit(
    attacked: tuple[nn.Module, Batch, Stepper], fail_at: int | None
) -> None:
    network, batch, stepper = attacked
    calls = iter(range(100))

    def breaks(module: nn.Module, inputs: Any) -> None:
        if next(calls) == fail_at:
            raise RuntimeError("broken pass")

    handle = network.register_forward_pre_hook(breaks)
    before = {name: w.detach().clone() for name, w in network.named_parameters()}
    if fail_at is None:
        stepper.gradients(batch, 0, 6)
    else:
        with pytest.raises(RuntimeError, match="broken pass"):
            stepper.gradients(batch, 0, 6)
    assert all(torch.equal(before[name], w) for name, w in network.named_parameters())
    handle.remove()
    assert not any(module._forward_hooks for module in network.modules())
    assert not any(w._backward_hooks for w in network.parameters())
    assert torch.is_grad_enabled()


def test_masks_are_fixed_over_the_ascent_steps(attacked: tuple[nn.Module, Batch, Stepper]) -> None:
    network, batch, stepper = attacked
    weights, inputs = [], []

    def record(module: nn.Module, given: tuple[Tensor]) -> None:
        weights.append(network.get_parameter("conv1.weight").detach().clone())
        inputs.append(given[0].detach().clone())

    network.register_forward_pre_hook(record)
    stepper.gradients(batch, 7, 6)
    moved_x, moved_w = [x != inputs[0] for x in inputs[1:4]], [w != weights[0] for w in weights[4:7]]
    x_mask = bernoulli(0, 7, "input", batch.index, (6, 1, 8, 8), 0.5)
    w_mask = bernoulli(0, 7, "conv1.weight", torch.arange(6), (6, 1, 3, 3), 0.5)
    assert all(torch.equal(m, x_mask) for m in moved_x)
    for m in moved_w:  # where ReLU shuts a channel off the gradient is 0, and nothing moves
        assert not (m & ~w_mask).any()
        assert m.sum() > 0.6 * w_mask.sum()
    assert len({x.sum().item() for x in inputs[1:4]}) == 3, "the perturbation itself moves on"


def test_an_example_has_its_mask_in_any_batch(attacked: tuple[nn.Module, Batch, Stepper]) -> None:
    network, batch, stepper = attacked
    inputs: list[Tensor] = []
    handle = network.register_forward_pre_hook(lambda module, given: inputs.append(given[0].detach()))
    chosen = torch.tensor([4, 1, 2])
    assert batch.labels is not None
    part = Batch((batch.views[0][chosen],), batch.labels[chosen], batch.index[chosen])
    stepper.gradients(batch, 3, 6)
    whole = inputs[1] != inputs[0]
    inputs.clear()
    stepper.gradients(part, 3, 3)
    assert torch.equal(inputs[1] != inputs[0], whole[chosen])
    handle.remove()
