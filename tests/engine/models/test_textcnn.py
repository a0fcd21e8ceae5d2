"""TextCNN and TextRCNN, each by hand; what lies past a text's end does not matter to them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from engine.data.base import DataInfo
from engine.models.catalog import config, describe

X_BT = torch.tensor([[3, 4, 5, 6, 7, 8], [9, 0, 0, 0, 0, 0], [5, 4, 3, 2, 0, 0]])
LENGTHS_B = torch.tensor([6, 1, 4])
FAMILY = ["lstm", "bilstm", "bigru", "textrnn", "textcnn", "textrcnn"]


def network(name: str, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    built = config({"name": name, **settings}).build(DataInfo("text", 3, vocabulary=30))
    return built.double().eval()


def weights(net: nn.Module) -> dict[str, Tensor]:
    return {name: w.detach() for name, w in net.named_parameters()}


def test_textcnn_by_hand() -> None:
    net = network("textcnn", embedding_dim=4, kernels=[2, 5], filters=3)
    p, expected = weights(net), []
    for tokens, length in zip(X_BT, LENGTHS_B, strict=True):
        features = []
        for kernel in (2, 5):
            e_TD = p["embedding.weight"][tokens[:length]]
            e_TD = torch.cat([e_TD, torch.zeros(max(kernel - int(length), 0), 4, dtype=torch.float64)])
            responses = [
                torch.einsum("fdk,kd->f", p[f"conv{kernel}.weight"], e_TD[t : t + kernel])
                + p[f"conv{kernel}.bias"]
                for t in range(len(e_TD) - kernel + 1)
            ]
            features.append(torch.stack(responses).clamp_min(0).max(dim=0).values)
        expected.append(p["fc.weight"] @ torch.cat(features) + p["fc.bias"])
    assert torch.allclose(net(X_BT, LENGTHS_B), torch.stack(expected))


def test_textrcnn_by_hand() -> None:
    net = network("textrcnn", embedding_dim=4, hidden=3, latent=5)
    p, expected, zero = weights(net), [], torch.zeros(3, dtype=torch.float64)
    cells = {}
    for end in ("", "_reverse"):
        cells[end] = nn.LSTMCell(4, 3).double()
        cells[end].load_state_dict(
            {name: p[f"lstm.{name}_l0{end}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        )
    for tokens, length in zip(X_BT, LENGTHS_B, strict=True):
        e_TD = p["embedding.weight"][tokens[:length]]
        left, right = [zero], [zero]
        for end, states, order in (("", left, e_TD), ("_reverse", right, e_TD.flip(0))):
            c = zero
            for e_D in order:
                h, c = cells[end](e_D, (states[-1], c))
                states.append(h)
        parts = zip(left[:-1], e_TD, right[:-1][::-1], strict=True)
        y_TY = torch.stack([(p["latent.weight"] @ torch.cat(x) + p["latent.bias"]).tanh() for x in parts])
        expected.append(p["fc.weight"] @ y_TY.max(dim=0).values + p["fc.bias"])
    assert torch.allclose(net(X_BT, LENGTHS_B), torch.stack(expected))


@pytest.mark.parametrize("name", FAMILY)
def test_the_padding_does_not_matter_even_where_it_is_perturbed(name: str) -> None:
    net = network(name, embedding_dim=4)
    wanted = net(X_BT, LENGTHS_B)
    longer = net(torch.cat([X_BT, X_BT[:, :3] * 0], dim=1), LENGTHS_B)
    assert torch.allclose(longer, wanted, atol=1e-12)
    shorter = net(X_BT[1:2, :1], LENGTHS_B[1:2])
    assert torch.allclose(shorter, wanted[1:2], atol=1e-12)
    outside_BT1 = (torch.arange(6) >= LENGTHS_B[:, None])[..., None]
    net.get_submodule("embedding").register_forward_hook(lambda module, inputs, h: h + 7.0 * outside_BT1)
    assert torch.equal(net(X_BT, LENGTHS_B), wanted)


def test_parameters() -> None:
    words = 30 * 300
    convolutions = sum((kernel * 300 + 1) * 100 for kernel in (3, 4, 5))
    net = network("textcnn")
    assert sum(w.numel() for w in net.parameters()) == words + convolutions + 301 * 3
    recurrent = 2 * 4 * 50 * (300 + 50 + 2)
    net = network("textrcnn")
    assert sum(w.numel() for w in net.parameters()) == words + recurrent + 401 * 100 + 101 * 3


def test_names_follow_the_kernels() -> None:
    info = describe({"name": "textcnn", "kernels": [2, 7]})
    assert info.resolve("conv7.w", "x") == ("conv7.weight",)
    assert "conv3.w" not in info.aliases
    assert describe({"name": "textrcnn"}).resolve("latent.w", "x") == ("latent.weight",)


@pytest.mark.parametrize("kernels", [[], [3, 3], [0]])
def test_kernels_that_are_none(kernels: list[int]) -> None:
    with pytest.raises(ValidationError, match="kernels"):
        describe({"name": "textcnn", "kernels": kernels})
