from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.perturb.inputs import within
from engine.perturb.targets import (
    captured,
    clamped,
    input_shape,
    logits_of,
    lookup_table,
    perturbed,
)

LSTM = {"name": "lstm", "embedding_dim": 5, "hidden": 4}
LENET = {"name": "lenet5_8x8"}


def awkward(network: nn.Module) -> dict[str, Tensor]:
    """A perturbation that subtracting again would not undo."""
    names = [name for name, _ in network.named_parameters()][:3]
    return {n: torch.full_like(network.get_parameter(n), 1e8 / 3).detach() for n in names}


@pytest.mark.parametrize("fails", [False, True])
def test_perturbed_restores_bit_for_bit(make_network: Callable[..., Any], fails: bool) -> None:
    network = make_network(LENET)[0].float()
    r = awkward(network)
    before = {n: w.detach().clone() for n, w in network.named_parameters()}
    places = {n: w.data_ptr() for n, w in network.named_parameters()}

    def inside() -> None:
        with perturbed(network, r):
            for n, w in network.named_parameters():
                assert torch.equal(w.detach(), before[n] + r[n] if n in r else before[n])
                assert w.data_ptr() == places[n], "its storage stays"
            assert torch.is_grad_enabled()
            if fails:
                raise RuntimeError("in the middle")

    if fails:
        with pytest.raises(RuntimeError, match="in the middle"):
            inside()
    else:
        inside()
    assert all(torch.equal(w, before[n]) for n, w in network.named_parameters())
    assert all(w.data_ptr() == places[n] for n, w in network.named_parameters())
    undone = {n: before[n] + r[n] - r[n] for n in r}
    assert any(not torch.equal(undone[n], before[n]) for n in r), "the case is awkward"


def test_perturbed_restores_when_it_cannot_begin(make_network: Callable[..., Any]) -> None:
    network, _ = make_network(LENET)
    before = {n: w.detach().clone() for n, w in network.named_parameters()}
    wrong = {"conv1.weight": torch.ones_like(before["conv1.weight"]), "fc1.weight": torch.ones(7)}
    with pytest.raises(RuntimeError, match="size"), perturbed(network, wrong):
        pass
    assert all(torch.equal(w, before[n]) for n, w in network.named_parameters())


def test_a_pass_uses_the_perturbed_weights_also_of_a_packed_lstm(make_network: Callable[..., Any]) -> None:
    network, batch = make_network(LSTM)
    clean = logits_of(network, network, batch)
    r = {"lstm.weight_ih_l0": torch.full_like(network.get_parameter("lstm.weight_ih_l0"), 0.1)}
    with perturbed(network, r):
        moved = logits_of(network, network, batch)
    assert not torch.allclose(clean, moved)
    assert torch.equal(logits_of(network, network, batch), clean)


def test_captured_is_the_gradient_of_one_pass(make_network: Callable[..., Any]) -> None:
    network, batch = make_network(LENET)
    names = ("conv1.weight", "fc3.bias")

    def one_pass() -> dict[str, Tensor]:
        with captured(network, names) as found:
            network(batch.views[0]).square().sum().backward()
        return found

    first, second = one_pass(), one_pass()
    for name in names:
        summed = network.get_parameter(name).grad
        assert summed is not None
        assert torch.equal(first[name], second[name]), ".grad, which grows, is another tensor"
        assert torch.allclose(summed, 2 * first[name])
    assert set(first) == set(names)
    assert not any(w._backward_hooks for w in network.parameters())


def test_captured_lets_go_when_the_pass_raises(make_network: Callable[..., Any]) -> None:
    network, batch = make_network(LENET)
    with pytest.raises(RuntimeError), captured(network, ("conv1.weight",)):
        network(batch.views[0][:, :, :3])
    assert not any(w._backward_hooks for w in network.parameters())


def test_input_shape(make_network: Callable[..., Any]) -> None:
    assert input_shape(*make_network(LENET)) == (6, 1, 8, 8)
    assert input_shape(*make_network(LSTM)) == (6, 4, 5)


def test_images_are_moved_then_clamped(make_network: Callable[..., Any]) -> None:
    network, batch = make_network(LENET)
    x_BCHW = batch.views[0]
    r = torch.full_like(x_BCHW, 0.75)
    assert torch.equal(logits_of(network, network, batch, r), network(x_BCHW + r))
    assert torch.equal(logits_of(network, network, batch, r, (0.0, 1.0)), network((x_BCHW + r).clamp(0, 1)))
    assert torch.equal(logits_of(network, network, batch, None, (0.4, 0.6)), network(x_BCHW)), (
        "only what is moved"
    )


@pytest.mark.parametrize("moved", [0.1, -0.1, 2.0, -2.0, 0.0])
def test_pixels_outside_the_range_stay_in_their_ball(make_network: Callable[..., Any], moved: float) -> None:
    """Pixels that augmentation's noise has moved outside."""
    network, batch = make_network(LENET)
    x_BCHW = 3 * batch.views[0] - 1
    r = torch.full_like(x_BCHW, moved)
    found = clamped(x_BCHW + r, x_BCHW, (0.0, 1.0))
    assert bool(((found - x_BCHW).abs() <= abs(moved) + 1e-12).all())
    inside = (x_BCHW >= 0) & (x_BCHW <= 1)
    assert torch.equal(found[inside], (x_BCHW + r).clamp(0, 1)[inside])
    further = ((x_BCHW > 1) & (r > 0)) | ((x_BCHW < 0) & (r < 0))
    assert torch.equal(found[further], x_BCHW[further])
    r = r.requires_grad_()
    assert torch.equal(clamped(x_BCHW + r, x_BCHW, (0.0, 1.0)), found), "with and without a gradient"
    noisy = replace(batch, views=(x_BCHW,))
    assert torch.equal(logits_of(network, network, noisy, r, (0.0, 1.0)), network(found))
    assert torch.equal(within(r, x_BCHW, "linf", 5.0, (0.0, 1.0)), found - x_BCHW)


def test_the_gradient_of_pixels_in_the_range_is_that_of_a_clamp() -> None:
    x = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.5, 1.0])
    r = torch.tensor([0.0, 0.1, 0.0, -0.1, 0.1, 0.1])
    found, expected = r.clone().requires_grad_(), r.clone().requires_grad_()
    clamped(x + found, x, (0.0, 1.0)).sum().backward()  # type: ignore[no-untyped-call]
    (x + expected).clamp(0, 1).sum().backward()
    assert found.grad is not None
    assert expected.grad is not None
    assert torch.equal(found.grad, expected.grad)


def test_texts_are_moved_after_the_embedding(make_network: Callable[..., Any]) -> None:
    network, batch = make_network(LSTM)
    r = torch.full((6, 4, 5), 0.3, dtype=torch.float64)
    moved = logits_of(network, network, batch, r)
    with perturbed(network, {"embedding.weight": torch.full((12, 5), 0.3, dtype=torch.float64)}):
        same = logits_of(network, network, batch)
    assert torch.allclose(moved, same), "moving every row of the matrix moves every token"
    nothing = logits_of(network, network, batch, r, (-1e-9, 1e-9))
    assert torch.allclose(nothing[0], nothing[3], atol=1e-6), "equally long texts of zeros"


def test_the_hook_is_gone_after_a_pass_and_after_a_failure(make_network: Callable[..., Any]) -> None:
    network, batch = make_network(LSTM)
    logits_of(network, network, batch, torch.zeros(6, 4, 5))
    with pytest.raises(RuntimeError):
        logits_of(network, network, batch, torch.zeros(7, 7, 7))
    assert not network.get_submodule("embedding")._forward_hooks


def test_rows_of_a_matrix_are_perturbed_and_restored_alone() -> None:
    network = nn.Module()
    network.embedding = nn.Embedding(6, 3)
    before = network.embedding.weight.detach().clone()
    rows, r = torch.tensor([1, 4]), torch.full((2, 3), 0.1)
    with perturbed(network, {"embedding.weight": r}, {"embedding.weight": rows}):
        moved = network.embedding.weight.detach() - before
        assert torch.equal(moved.abs().sum(1) > 0, torch.tensor([False, True, False, False, True, False]))
        assert torch.equal(network.embedding.weight.detach()[rows], before[rows] + r)
    assert torch.equal(network.embedding.weight.detach(), before)


def test_a_matrix_that_two_modules_share_is_no_lookup_table() -> None:
    network = nn.Module()
    network.embedding = nn.Embedding(6, 3)
    assert lookup_table(network) == "embedding.weight"
    network.head = nn.Linear(3, 6, bias=False)
    network.head.weight = network.embedding.weight
    assert lookup_table(network) is None
    assert lookup_table(nn.Sequential(nn.Linear(1, 1))) is None
