"""Settings that image models share: normalisation inside the network, dropout before the classifier."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from engine.components import names
from engine.data.base import DataInfo
from engine.errors import InputError
from engine.models.catalog import config, describe
from engine.models.dropout import masked
from engine.models.image import ImageConfig, Normalize, pooled

MODELS = [name for name in names("models") if isinstance(config({"name": name}), ImageConfig)]
MEAN, STD = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26]
SMALL = "resnet18"


def build(settings: dict[str, Any], channels: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    found = config(settings)
    takes = found.takes() or (None, None, None)
    shape = tuple(t or s for t, s in zip(takes, (channels, 8, 8), strict=True))
    return found.build(DataInfo("image", 10, shape=shape)).eval()


def test_each_channel_has_its_own() -> None:
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    normal = Normalize(tuple(MEAN), tuple(STD)).double()(x)
    for c in range(3):
        assert torch.allclose(normal[:, c], (x[:, c] - MEAN[c]) / STD[c], atol=1e-6)


def test_it_is_no_part_of_the_state() -> None:
    assert not Normalize((0.5,), (0.5,)).state_dict()


@pytest.mark.parametrize("model", MODELS)
def test_normalised_pixels_are_what_the_network_sees(model: str) -> None:
    takes = config({"name": model}).shape or (None, 8, 8)
    channels = takes[0] or 2
    settings: dict[str, Any] = {"name": model} | ({"hidden": 8} if "vgg" in model else {})
    mean, std = MEAN[:channels], STD[:channels]
    plain = build(settings, channels)
    network = build({**settings, "normalize": {"mean": mean, "std": std}}, channels)
    x = torch.rand(2, channels, *(s or 8 for s in takes[1:]))
    z = (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert torch.allclose(network(x), plain(z), atol=1e-5)
    assert network.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("model", MODELS)
def test_the_last_site_stands_before_the_last_layer(model: str) -> None:
    with torch.device("meta"):
        network = build({"name": model})
    (last,) = (
        m for m in [*network.modules()][::-1] if isinstance(m, torch.nn.Linear) and m.out_features == 10
    )
    seen: list[torch.Size] = []
    network.dropout.register_forward_hook(lambda module, given, out: seen.append(out.shape))  # type: ignore[union-attr]
    takes = config({"name": model}).shape or (3, 8, 8)
    network(torch.rand(2, *(t or 3 for t in takes), device="meta"))
    assert seen == [(2, last.in_features)]


def test_a_mask_of_zeros_leaves_the_bias() -> None:
    network = build({"name": SMALL})
    with masked(network, {"dropout": torch.zeros(1, 512)}):
        out = network(torch.rand(2, 3, 8, 8))
    assert torch.equal(out, network.get_parameter("fc.bias").expand(2, 10))


def test_dropout_is_a_setting_and_drops() -> None:
    assert describe({"name": "lenet5", "dropout": 0.5}).canonical == {"name": "lenet5", "dropout": 0.5}
    network = build({"name": SMALL, "dropout": 0.5}).train()
    seen: list[torch.Tensor] = []
    network.dropout.register_forward_hook(lambda module, given, out: seen.append(out))  # type: ignore[union-attr]
    network(torch.rand(4, 3, 8, 8))
    assert 0.4 < (seen[0] == 0).float().mean() < 0.75, "some features are 0 anyway"


@pytest.mark.parametrize("zero", [0, 0.0])
def test_what_equals_the_default_is_left_out(zero: float) -> None:
    settings = {"name": "lenet5_8x8", "dropout": zero, "normalize": None}
    assert describe(settings).canonical == {"name": "lenet5_8x8"}


def test_normalisation_is_part_of_the_key() -> None:
    settings = {"name": SMALL, "normalize": {"mean": MEAN, "std": STD}}
    assert describe(settings).canonical == settings
    assert describe(describe(settings).config) == describe(settings)


def test_lenet5_starts_as_ever() -> None:
    torch.manual_seed(0)
    layers = {"conv1": torch.nn.Conv2d(1, 6, 5, padding=2), "conv2": torch.nn.Conv2d(6, 16, 5)}
    layers |= {f"fc{i}": torch.nn.Linear(a, b) for i, a, b in ((1, 400, 120), (2, 120, 84), (3, 84, 10))}
    state = build({"name": "lenet5"}).state_dict()
    assert list(state) == [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
    assert all(torch.equal(w, getattr(layers[n.split(".")[0]], n.split(".")[1])) for n, w in state.items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropout": 1}, "less than 1"),
        ({"dropout": -0.1}, "greater than or equal to 0"),
        ({"dropout": "0.5"}, "valid number"),
        ({"normalize": {"mean": MEAN}}, "std"),
        ({"normalize": {"mean": [], "std": []}}, "at least 1 item"),
        ({"normalize": {"mean": MEAN, "std": [1, 1, 0]}}, "greater than 0"),
        ({"normalize": {"mean": [float("nan")], "std": [1]}}, "finite"),
        (
            {"normalize": {"mean": MEAN, "std": [1]}},
            "model.normalize.std: [1.0] is not legal: as many numbers",
        ),
        ({"name": "lenet5", "normalize": {"mean": MEAN, "std": STD}}, "images have channels, 1"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        describe({"name": SMALL, **settings})


def test_a_model_takes_as_many_channels_as_it_normalises() -> None:
    info = describe({"name": SMALL, "normalize": {"mean": MEAN, "std": STD}})
    info.check(DataInfo("image", 10, shape=(3, 32, 32)))
    with pytest.raises(InputError, match="a model for 1 x 28 x 28 images; it takes 3 x any x any"):
        info.check(DataInfo("image", 10, shape=(1, 28, 28)))


def test_any_number_of_channels_of_one_size() -> None:
    info = describe({"name": "stdcnn"})
    for channels in (1, 3):
        info.check(DataInfo("image", 10, shape=(channels, 28, 28)))
    with pytest.raises(InputError, match="a model for 3 x 32 x 32 images; it takes any x 28 x 28"):
        info.check(DataInfo("image", 10, shape=(3, 32, 32)))


def test_any_image() -> None:
    describe({"name": SMALL}).check(DataInfo("image", 10, shape=(1, 28, 28)))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pooling_before_relu_changes_no_value_and_no_gradient(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    h = torch.randn(8, 3, 7, 6).mul(2).round()  # ties, zeros, windows without a positive number
    h[0, 0, 0, 0], h[1, 0, 0, 0], h[2] = torch.nan, torch.inf, -0.0
    g = torch.randn(8, 3, 3, 3)
    found = []
    for way in (pooled, lambda x: nn.functional.max_pool2d(x.relu(), 2)):
        x = h.contiguous(memory_format=layout).requires_grad_()
        y = way(x)
        found.append((y, *torch.autograd.grad(y, x, g)))
    (one, slope), (other, wanted) = found
    assert (int(one.isnan().sum()), int(one.isinf().sum())) == (1, 1)
    assert slope.count_nonzero() > 100
    assert torch.equal(one.nan_to_num(-1), other.nan_to_num(-1))
    assert torch.equal(slope.contiguous().view(torch.int32), wanted.contiguous().view(torch.int32))
