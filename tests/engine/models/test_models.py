"""Contract of every model that is found, and what is known of each from its layers."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.components import names
from engine.data.base import DataInfo
from engine.models.base import Shape
from engine.models.catalog import config, describe
from engine.models.dropout import sites

MODELS = names("models")
models = pytest.mark.parametrize("model", MODELS)


def small(takes: Shape | None) -> tuple[int, ...]:
    """The smallest image that is tried, where a model takes several."""
    return tuple(t or s for t, s in zip(takes or (None, None, None), (3, 8, 8), strict=True))


def build(settings: dict[str, Any], classes: int = 10, vocabulary: int = 30, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    found = config(settings)
    shape = small(found.takes())
    image = found.kind == "image"
    return found.build(
        DataInfo(found.kind, classes, shape=shape if image else (), vocabulary=0 if image else vocabulary)
    )


def inputs(model: str) -> tuple[Tensor, ...]:
    found = config({"name": model})
    if found.kind == "image":
        return (torch.rand(4, *small(found.takes())),)
    return torch.tensor([[3, 4, 5], [6, 0, 0], [7, 8, 0], [2, 2, 2]]), torch.tensor([3, 1, 2, 3])


@pytest.fixture(scope="module", params=MODELS)
def built(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    """Each model once, in eval mode: in train mode dropout and batch norm mix examples and chance."""
    return request.param, build({"name": request.param}).eval()


def count(network: nn.Module) -> int:
    return sum(w.numel() for w in network.parameters())


def dense(i: int, o: int) -> int:
    return (i + 1) * o


def conv(i: int, o: int, kernel: int) -> int:
    return (i * kernel * kernel + 1) * o


def test_lenet5_has_61706_parameters() -> None:
    layers = conv(1, 6, 5) + conv(6, 16, 5) + dense(16 * 5 * 5, 120) + dense(120, 84) + dense(84, 10)
    assert count(build({"name": "lenet5"})) == layers == 61_706


def test_lenet5_8x8_has_19754_parameters() -> None:
    layers = conv(1, 6, 3) + conv(6, 16, 3) + dense(16 * 2 * 2, 120) + dense(120, 84) + dense(84, 10)
    assert count(build({"name": "lenet5_8x8"})) == layers == 19_754


@pytest.mark.parametrize(("embedding_dim", "hidden"), [(300, 300), (7, 5)])
def test_lstm_parameters(embedding_dim: int, hidden: int) -> None:
    gates = 4 * hidden * (embedding_dim + hidden) + 2 * 4 * hidden  # torch has a bias for each of the two
    expected = 30 * embedding_dim + gates + dense(hidden, 2)
    settings = {"name": "lstm", "embedding_dim": embedding_dim, "hidden": hidden}
    assert count(build(settings, classes=2)) == expected


@models
def test_it_says_what_it_is(model: str) -> None:
    text = inspect.getdoc(type(config({"name": model}))) or ""
    assert len(text) > 40
    assert "Source:" in text or "parameters" in text


@models
def test_defaults_are_settings_enough(model: str) -> None:
    info = describe({"name": model})
    assert info.canonical == {"name": model}, "defaults are left out"
    assert describe(info.config) == info, "the full settings are the same model"


@models
def test_the_catalog_lists_the_models_parameters(model: str) -> None:
    info = describe({"name": model})
    with torch.device("meta"):
        network = build({"name": model})
    assert info.parameters == tuple(name for name, _ in network.named_parameters())
    assert info.aliases
    for alias, name in info.aliases.items():
        assert info.resolve(alias, "x") == (name,)
    for name in info.parameters:
        assert info.resolve(name, "x") == (name,)
    assert info.resolve("*", "x") == info.parameters
    assert info.resolve("input", "x") == ("input",)


def test_outputs(built: tuple[str, nn.Module]) -> None:
    model, network = built
    given = inputs(model)
    out_BO = network(*given)
    outputs = 10 if describe({"name": model}).task == "classification" else given[0][0].numel()
    assert out_BO.shape == (4, outputs)
    assert torch.isfinite(out_BO).all()


@models
def test_the_data_say_how_many_classes(model: str) -> None:
    if describe({"name": model}).task == "reconstruction":
        pytest.skip("it has none")
    with torch.device("meta"):
        last = list(build({"name": model}, classes=3).parameters())[-1]
    assert last.shape == (3,), "the bias of the last layer"


def test_an_example_is_seen_by_itself(built: tuple[str, nn.Module]) -> None:
    model, network = built
    given = inputs(model)
    whole, one = network(*given), network(*(t[1:2] for t in given))
    scale = whole.abs().max().item()
    assert torch.allclose(whole[1:2], one, atol=1e-6 * scale), "neither the batch nor padding matters"


def test_a_pass_changes_neither_its_input_nor_the_network_in_eval_mode(built: tuple[str, nn.Module]) -> None:
    model, network = built
    given = inputs(model)
    before = [t.clone() for t in given]
    buffers = {name: b.clone() for name, b in network.named_buffers()}
    network(*given)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))
    assert all(torch.equal(b, buffers[name]) for name, b in network.named_buffers())


def test_the_generator_decides_the_weights(built: tuple[str, nn.Module]) -> None:
    model, network = built
    a, b, c = network.state_dict(), build({"name": model}).state_dict(), build({"name": model}, seed=1)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(w, c.state_dict()[name]) for name, w in a.items())


def test_every_parameter_gets_a_gradient(built: tuple[str, nn.Module]) -> None:
    model, network = built
    loss = network(*inputs(model)).square().sum()
    for g in torch.autograd.grad(loss, list(network.parameters())):
        assert g.abs().sum() > 0
        assert torch.isfinite(g).all()


def test_the_sites_are_where_the_catalog_says(built: tuple[str, nn.Module]) -> None:
    model, network = built
    found = describe({"name": model}).sites
    assert found == tuple(sites(network))
    assert not any(isinstance(module, nn.Dropout) for module in network.modules())
    if config({"name": model}).kind == "image":
        assert found[-1] == "dropout"


def test_lenet5_8x8_by_hand() -> None:
    network = build({"name": "lenet5_8x8"})
    (x,) = inputs("lenet5_8x8")
    p = dict(network.named_parameters())
    pad, pool = nn.functional.pad, nn.functional.max_pool2d
    h = pool(nn.functional.conv2d(pad(x, (1, 1, 1, 1)), p["conv1.weight"], p["conv1.bias"]).clamp_min(0), 2)
    h = pool(nn.functional.conv2d(pad(h, (1, 1, 1, 1)), p["conv2.weight"], p["conv2.bias"]).clamp_min(0), 2)
    h = h.reshape(4, 64)
    for layer in ("fc1", "fc2"):
        h = (h @ p[f"{layer}.weight"].T + p[f"{layer}.bias"]).clamp_min(0)
    assert torch.allclose(network(x), h @ p["fc3.weight"].T + p["fc3.bias"], atol=1e-6)


def test_lstm_by_hand() -> None:
    network = build({"name": "lstm", "embedding_dim": 3, "hidden": 4}, classes=2).double()
    x_BT, lengths_B = inputs("lstm")
    p = {name: w.detach() for name, w in network.named_parameters()}
    expected = []
    for tokens, length in zip(x_BT, lengths_B, strict=True):
        h, c = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
        for token in tokens[:length]:
            gates = p["lstm.weight_ih_l0"] @ p["embedding.weight"][token] + p["lstm.bias_ih_l0"]
            i, f, g, o = (gates + p["lstm.weight_hh_l0"] @ h + p["lstm.bias_hh_l0"]).chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        expected.append(p["fc.weight"] @ h + p["fc.bias"])
    assert torch.allclose(network(x_BT, lengths_B), torch.stack(expected))


def test_lstm_embedding_is_normal_and_padding_zero() -> None:
    w_VD = build({"name": "lstm"}, vocabulary=500).get_parameter("embedding.weight")
    assert not w_VD[0].any()
    assert abs(w_VD[1:].mean().item()) < 0.02
    assert w_VD[1:].std().item() == pytest.approx(1.0, abs=0.02)
    assert w_VD.requires_grad, "it is trained"
