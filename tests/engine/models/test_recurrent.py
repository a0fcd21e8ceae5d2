"""Bidirectional models against torch's own packed modules, and by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from engine.data.base import DataInfo
from engine.models.catalog import config, describe
from engine.models.recurrent import all_states, final_states, packed_run

LENGTHS_B = torch.tensor([4, 1, 7, 6])
CASES = [(nn.LSTM, 1, True), (nn.LSTM, 2, True), (nn.GRU, 1, True), (nn.GRU, 2, True), (nn.GRU, 1, False)]
rnns = pytest.mark.parametrize(("kind", "layers", "bidirectional"), CASES)


def module(kind: Any, layers: int, bidirectional: bool) -> tuple[Any, Tensor]:
    torch.manual_seed(layers)
    rnn = kind(3, 5, layers, batch_first=True, bidirectional=bidirectional)
    return rnn, torch.randn(4, 8, 3, requires_grad=True)


def network(name: str, classes: int = 2, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return config({"name": name, **settings}).build(DataInfo("text", classes, vocabulary=30))


def packed(rnn: Any, h_BTD: Tensor) -> tuple[Tensor, Tensor]:
    """All states and the top layer's final ones, as torch's packed run gives them."""
    states, end = rnn(pack_padded_sequence(h_BTD, LENGTHS_B, batch_first=True, enforce_sorted=False))
    final = end[0] if isinstance(end, tuple) else end
    top = final[-2:] if rnn.bidirectional else final[-1:]
    return pad_packed_sequence(states, batch_first=True, total_length=8)[0], torch.cat(tuple(top), 1)


@rnns
def test_states_are_those_of_a_packed_run(kind: Any, layers: int, bidirectional: bool) -> None:
    rnn, h_BTD = module(kind, layers, bidirectional)
    states_BTS, final_BS = packed(rnn, h_BTD)
    inside_BT1 = (torch.arange(8) < LENGTHS_B[:, None])[..., None]
    ours = all_states(rnn, h_BTD, LENGTHS_B) * inside_BT1
    assert torch.allclose(ours, states_BTS, atol=1e-6)
    assert torch.allclose(final_states(rnn, h_BTD, LENGTHS_B), final_BS, atol=1e-6)


@rnns
def test_gradients_are_those_of_a_packed_run(kind: Any, layers: int, bidirectional: bool) -> None:
    rnn, h_BTD = module(kind, layers, bidirectional)
    wanted = torch.autograd.grad(packed(rnn, h_BTD)[1].square().sum(), [h_BTD, *rnn.parameters()])
    found = torch.autograd.grad(
        final_states(rnn, h_BTD, LENGTHS_B).square().sum(), [h_BTD, *rnn.parameters()]
    )
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, wanted, strict=True))
    assert not found[0][1, 1:].any(), "none to the padding"


@rnns
def test_the_gpus_packed_run_puts_rows_in_order_and_back(kind: Any, layers: int, bidirectional: bool) -> None:
    rnn, h_BTD = module(kind, layers, bidirectional)
    states_BTS, final_BS = packed_run(rnn, h_BTD, LENGTHS_B)
    wanted = packed(rnn, h_BTD)
    assert torch.equal(states_BTS, wanted[0])
    assert torch.equal(final_BS, wanted[1])


def test_a_bilstm_by_hand() -> None:
    net = network("bilstm", embedding_dim=3, hidden=4).double()
    x_BT, lengths_B = torch.tensor([[3, 4, 5], [6, 7, 0]]), torch.tensor([3, 2])
    p = {name: w.detach() for name, w in net.named_parameters()}
    expected = []
    for tokens, length in zip(x_BT, lengths_B, strict=True):
        ends = []
        for end, order in (("", tokens[:length]), ("_reverse", tokens[:length].flip(0))):
            h = c = torch.zeros(4, dtype=torch.float64)
            for token in order:
                gates = p[f"lstm.weight_ih_l0{end}"] @ p["embedding.weight"][token]
                gates = gates + p[f"lstm.weight_hh_l0{end}"] @ h
                i, f, g, o = (gates + p[f"lstm.bias_ih_l0{end}"] + p[f"lstm.bias_hh_l0{end}"]).chunk(4)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
            ends.append(h)
        expected.append(p["fc.weight"] @ torch.cat(ends) + p["fc.bias"])
    assert torch.allclose(net(x_BT, lengths_B), torch.stack(expected))


@pytest.mark.parametrize(
    ("name", "gates", "hidden", "layers", "classes"),
    [("bilstm", 4, 300, 1, 2), ("bigru", 3, 300, 2, 4), ("textrnn", 4, 128, 2, 2)],
)
def test_parameters_of_the_layer_lists(name: str, gates: int, hidden: int, layers: int, classes: int) -> None:
    inputs = [300, *[2 * hidden] * (layers - 1)]
    recurrent = sum(2 * gates * hidden * (width + hidden + 2) for width in inputs)
    expected = 30 * 300 + recurrent + (2 * hidden + 1) * classes
    assert sum(w.numel() for w in network(name, classes).parameters()) == expected


def test_the_papers_names() -> None:
    assert describe({"name": "bilstm"}).resolve("lstm.ih.w.reverse", "x") == ("lstm.weight_ih_l0_reverse",)
    gru = describe({"name": "bigru"})
    assert gru.resolve("gru.ih.w", "x") == ("gru.weight_ih_l0",)
    assert gru.resolve("gru.l1.hh.w.reverse", "x") == ("gru.weight_hh_l1_reverse",)
    assert "gru.l1.ih.w" not in describe({"name": "bigru", "layers": 1}).aliases
    assert "lstm.ih.w.reverse" not in describe({"name": "lstm"}).aliases


@pytest.mark.parametrize("name", ["lstm", "bilstm", "bigru", "textrnn", "textcnn", "textrcnn"])
def test_dropout_is_one_site_before_the_last_layer(name: str) -> None:
    assert describe({"name": name}).sites == ("dropout",)
    net = network(name, embedding_dim=4, dropout=0.5)
    x_BT, lengths_B = torch.tensor([[3, 4, 5]] * 8), torch.full((8,), 3)
    torch.manual_seed(0)
    assert not torch.equal(net(x_BT, lengths_B)[0], net(x_BT, lengths_B)[1])
    net.eval()
    assert torch.allclose(net(x_BT, lengths_B)[0], net(x_BT, lengths_B)[1])
    with pytest.raises(ValidationError, match="less than 1"):
        describe({"name": name, "dropout": 1.0})


def test_dropout_zero_is_a_model_without_one() -> None:
    net = network("lstm", embedding_dim=4, hidden=3)
    x_BT, lengths_B = torch.tensor([[3, 4, 5], [6, 0, 0]]), torch.tensor([3, 1])
    assert torch.equal(net(x_BT, lengths_B), net.eval()(x_BT, lengths_B))
    assert describe({"name": "lstm", "dropout": 0.0, "layers": 1}).canonical == {"name": "lstm"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@rnns
def test_a_gpu_gives_the_same(kind: Any, layers: int, bidirectional: bool) -> None:
    rnn, h_BTD = module(kind, layers, bidirectional)
    wanted = final_states(rnn, h_BTD, LENGTHS_B), all_states(rnn, h_BTD, LENGTHS_B)
    rnn.cuda()
    found = final_states(rnn, h_BTD.cuda(), LENGTHS_B), all_states(rnn, h_BTD.cuda(), LENGTHS_B)
    assert torch.allclose(found[0].cpu(), wanted[0], atol=1e-5)
    inside_BT1 = (torch.arange(8) < LENGTHS_B[:, None])[..., None]
    assert torch.allclose(found[1].cpu() * inside_BT1, wanted[1] * inside_BT1, atol=1e-5)
