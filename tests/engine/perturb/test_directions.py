from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from engine.perturb.directions import combined, filter_normalised, steepest, weight_matrices


def build() -> nn.Module:
    """A convolution, batch norm, a linear layer and an embedding; one filter is zero."""
    torch.manual_seed(0)
    network = nn.ModuleDict(
        {
            "conv": nn.Conv2d(3, 8, 3),
            "norm": nn.BatchNorm2d(8),
            "fc": nn.Linear(20, 5),
            "embedding": nn.Embedding(11, 4),
        }
    )
    with torch.no_grad():
        network["conv"].weight[2] = 0  # type: ignore[index]
    return network


def test_each_filter_has_the_norm_of_the_weights() -> None:
    network = build()
    d = filter_normalised(network, 0, 0)
    assert list(d) == ["conv.weight", "fc.weight", "embedding.weight"]
    for name, direction in d.items():
        w = network.get_parameter(name).detach().double().numpy()
        for filter_w, filter_d in zip(w, direction.double().numpy(), strict=True):
            assert np.linalg.norm(filter_d) == pytest.approx(np.linalg.norm(filter_w), rel=1e-6)
    assert d["conv.weight"][2].abs().max() == 0


def test_within_a_filter_it_is_gaussian() -> None:
    network = nn.Linear(10_000, 3, bias=False)
    d = filter_normalised(network, 5, 1)["weight"].double()
    z = d / d.std(1, keepdim=True)
    assert z.mean(1).abs().max() < 0.04
    assert (z**4).mean(1).numpy() == pytest.approx([3.0] * 3, abs=0.25)
    assert torch.corrcoef(z).triu(1).abs().max() < 0.04


def test_a_function_of_seed_number_and_name_alone() -> None:
    network = build()
    first = filter_normalised(network, 0, 0)
    assert torch.equal(filter_normalised(network, 0, 0)["fc.weight"], first["fc.weight"])
    for seed, number in ((1, 0), (0, 1)):
        other = filter_normalised(network, seed, number)["fc.weight"]
        cosine = nn.functional.cosine_similarity(other.flatten(), first["fc.weight"].flatten(), 0)
        assert cosine.abs() < 0.4
    alone = filter_normalised(nn.ModuleDict({"fc": network.fc}), 0, 0)  # type: ignore[dict-item]
    assert torch.equal(alone["fc.weight"], first["fc.weight"])


def test_vectors_move_by_their_own_size_when_asked() -> None:
    network = build()
    moved = filter_normalised(network, 0, 0, "moved")
    assert set(moved) == {name for name, _ in network.named_parameters()}
    b = network.get_parameter("fc.bias").detach()
    assert torch.equal(moved["fc.bias"].abs(), b.abs())
    assert not torch.equal(moved["fc.bias"], b)
    assert torch.equal(moved["conv.weight"], filter_normalised(network, 0, 0)["conv.weight"])


def test_steepest_has_the_norm_of_each_layer() -> None:
    w = {"a": torch.tensor([[3.0, 4.0]]), "b": torch.tensor([[1.0]])}
    v = steepest({"a": torch.tensor([[0.0, 2.0]]), "b": torch.tensor([[-7.0]])}, w)
    assert v["a"].tolist() == [[0.0, 5.0]]
    assert v["b"].tolist() == [[-1.0]]


def test_weight_matrices() -> None:
    assert list(weight_matrices(build())) == ["conv.weight", "fc.weight", "embedding.weight"]
    assert list(weight_matrices(nn.LSTM(2, 2))) == ["weight_ih_l0", "weight_hh_l0"]


def test_combined_leaves_the_directions_alone() -> None:
    d = {"w": torch.ones(2)}
    assert combined([d, d], (0.25, 0.5))["w"].tolist() == [0.75, 0.75]
    assert d["w"].tolist() == [1.0, 1.0]
