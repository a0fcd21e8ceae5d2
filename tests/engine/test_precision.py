"""Half precision: what overflows perturbs and updates nothing, and the loss scale changes no direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.components import names
from engine.config import Trial
from engine.data.examples import Batch
from engine.data.loading import load
from engine.distributed import Workers
from engine.evaluate import evaluate
from engine.models.catalog import config as model_config
from engine.optimizers import Updates, build
from engine.passes import Passes, Precision
from engine.perturb.weights import sizes
from engine.state import State
from engine.step import Stepper
from engine.train import train

CPU = torch.device("cpu")
METHODS = names("methods")
Lively = Callable[..., Trial]
Make = Callable[..., tuple[nn.Module, Batch]]


def stepper_of(
    trial: Trial, network: nn.Module, size: int, precision: Precision, scale: float | None = None
) -> Stepper:
    """With a loss scale of its own in float16."""
    stepper = Stepper(network, trial.slots, 0, Workers(), precision, State(size=size))
    if scale is not None:
        scaler = stepper.of.passes.scaler
        scaler.load_state_dict({**scaler.state_dict(), "scale": scale})
    return stepper


def step_of(stepper: Stepper, batch: Batch, epoch: float = 5.0) -> dict[str, Tensor]:
    """The gradients of one step."""
    stepper.gradients(batch, 3, len(batch), places=torch.arange(len(batch)), epoch=epoch)
    return {name: w.grad.clone() for name, w in stepper.network.named_parameters() if w.grad is not None}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [2.0**-6, 2.0**16])
def test_the_loss_scale_changes_no_direction(
    make_network: Make, make_lively: Lively, method: str, scale: float
) -> None:
    trial = make_lively(method)
    network, batch = make_network(trial.model)
    expected = step_of(stepper_of(trial, network, 6, "float32"), batch)
    network.zero_grad()
    scaled = stepper_of(trial, network, 6, "fp16", scale)
    scaled.of.passes.half = None  # the loss scale alone, in float64
    found = step_of(scaled, batch)
    for name, g in expected.items():
        assert torch.allclose(found[name] / scale, g, rtol=1e-5, atol=1e-9), name


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_is_near_that_of_float32(
    make_network: Make, make_lively: Lively, method: str, precision: Precision
) -> None:
    trial = make_lively(method)
    network, batch = make_network(trial.model)
    network.float()
    batch = Batch((batch.views[0].float(),), batch.labels, batch.index)
    expected = step_of(stepper_of(trial, network, 6, "float32"), batch)
    network.zero_grad()
    scale = 64.0 if precision == "fp16" else None
    found = step_of(stepper_of(trial, network, 6, precision, scale), batch)
    assert all(g.dtype == torch.float32 for g in found.values())
    a, b = (torch.cat([g.flatten() for g in grads.values()]) for grads in (expected, found))
    # Signs of gradients near zero differ: an untrained network has many of them in bfloat16.
    assert torch.cosine_similarity(a, b, dim=0) > (0.7 if precision == "bf16" else 0.95)
    assert (b / (scale or 1)).norm() / a.norm() == pytest.approx(1, abs=0.2)


def overflowing(make_network: Make, trial: Trial) -> tuple[nn.Module, Batch, Stepper]:
    network, batch = make_network(trial.model)
    network.float()
    batch = Batch((batch.views[0].float(),), batch.labels, batch.index)
    return network, batch, stepper_of(trial, network, 6, "fp16", 2.0**60)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("method", METHODS)
def test_an_overflow_moves_nothing(
    make_network: Make, make_lively: Lively, method: str, optimizer: str
) -> None:
    trial = make_lively(method, optimizer={"name": optimizer, "lr": 0.1, "weight_decay": 0.1})
    network, batch, stepper = overflowing(make_network, trial)
    updates = Updates(trial, build(trial.optimizer, network.parameters(), CPU), network, stepper)
    before = {name: w.detach().clone() for name, w in network.named_parameters()}
    updates.begin(0.0)
    clean = stepper.gradients(batch, 3, 6, places=torch.arange(6), epoch=5.0, update=updates.between)
    updates.take()
    assert clean.loss.isfinite(), "the loss itself is in range"
    assert all(torch.equal(w, before[name]) for name, w in network.named_parameters())
    assert updates.scaler.get_scale() < 2.0**60, "the next step is tried with a smaller scale"


@pytest.mark.parametrize("method", ["dropattack", "at_awp", "at", "trades", "pgd"])
def test_an_overflow_perturbs_nothing(make_network: Make, make_lively: Lively, method: str) -> None:
    trial = make_lively(method)
    network, batch, stepper = overflowing(make_network, trial)
    seen: list[tuple[Tensor, Tensor]] = []
    network.register_forward_pre_hook(
        lambda module, given: seen.append((given[0].detach(), next(network.parameters()).detach().clone()))
    )
    step_of(stepper, batch)
    first_w = seen[0][1]
    assert len(seen) > 1
    assert all(x.isfinite().all() and torch.equal(w, first_w) for x, w in seen)
    assert all(torch.equal(x, seen[1][0]) for x, _ in seen[1:]) or method == "trades"


def test_relative_weights_have_their_size_in_bf16(make_network: Make, make_lively: Lively) -> None:
    trial = make_lively("at_awp")
    network, batch = make_network(trial.model)
    network.float()
    w = {name: p.detach().clone() for name, p in network.named_parameters()}
    stepper = stepper_of(trial, network, 6, "bf16")
    step_of(stepper, Batch((batch.views[0].float(),), batch.labels, batch.index))
    assert stepper.shifted.keys() == set(trial.model_info.weights)
    of_w, of_v = sizes(w), sizes(stepper.shifted)
    for name, size in of_v.items():
        assert size.dtype == torch.float32
        assert size / of_w[name] <= 0.02 * (1 + 1e-6)
        assert size / of_w[name] > 0.01


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("text", [False, True])
def test_training_goes_as_in_float32(
    make_trial: Callable[..., Trial], precision: Precision, text: bool
) -> None:
    method = "pgd" if text else {"name": "at_awp", "epsilon": 0.05, "steps": 2, "step_size": 0.03}
    settings = {"method": method, "epochs": 4, "optimizer": {"name": "adam", "lr": 0.01}}
    wide, half = (train(make_trial(text, **settings, precision=p)) for p in ("float32", precision))
    assert half.status == "completed"
    losses = [[epoch["train.loss"] for epoch in result.history] for result in (wide, half)]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1][-1] < losses[1][0]


def test_evaluation_is_in_float32(make_trial: Callable[..., Trial], run: Any, tmp_path: Any) -> None:
    trial = make_trial(precision="bf16")
    result, weights = run(trial, tmp_path)
    data = load(trial.data, trial.seed, CPU)
    network = model_config(trial.model).build(data.info)
    network.load_state_dict(weights)
    assert evaluate(network, data.test, Workers()).loss == pytest.approx(result.last["test.loss"], rel=1e-6)


def test_norms_and_passes_in_half_precision_leave_float32_behind(make_network: Make) -> None:
    network, batch = make_network({"name": "normed"})
    network.float()
    passes = Passes(network, Workers(), "bf16")
    logits_BC = passes.logits(Batch((batch.views[0].float(),), batch.labels, batch.index))
    assert logits_BC.dtype == torch.float32
    assert all(
        t.is_floating_point() is False or t.dtype == torch.float32 for t in network.state_dict().values()
    )
