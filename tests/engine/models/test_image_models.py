"""Image models against counts from the papers' layer lists, torchvision, and passes written out by hand."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as f
from torchvision.models import resnet, vgg

from engine.data.base import DataInfo
from engine.models.catalog import config, describe
from engine.models.dropout import Dropout
from engine.models.norm import MeanOnlyBatchNorm2d
from engine.models.vgg import VGG
from engine.models.wideresnet import WideResNet

SIZES = {"stdcnn": 28, "mnist_cnn": 28, "autoencoder": 28}
VGG_WIDTHS = {
    16: [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6,
    19: [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8,
}


def conv(i: int, o: int, kernel: int, bias: bool = False) -> int:
    return i * kernel * kernel * o + bias * o


def dense(i: int, o: int) -> int:
    return (i + 1) * o


def bn(channels: int) -> int:
    return 2 * channels


def build(name: str, channels: int = 3, meta: bool = False, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    size = SIZES.get(name, 32)
    data = DataInfo("image", 10, shape=(channels, size, size))
    with torch.device("meta" if meta else "cpu"):
        return config({"name": name, **settings}).build(data)


def count(network: nn.Module) -> int:
    return sum(w.numel() for w in network.parameters())


def counted(name: str, channels: int = 3, **settings: Any) -> int:
    return count(build(name, channels, meta=True, **settings))


def stirred(network: nn.Module) -> nn.Module:
    """The network in double precision with every parameter and statistic away from its first value."""
    torch.manual_seed(1)
    network.double()
    with torch.no_grad():
        for w in network.parameters():
            w.add_(0.1 * w.abs().mean() * torch.randn_like(w) + 0.01 * torch.randn_like(w))
        for name, b in network.named_buffers():
            if b.is_floating_point():
                b.copy_(torch.rand_like(b) + ("var" in name))
    return network


# Counts


@pytest.mark.parametrize(("depth", "total"), [(16, 33_646_666), (19, 38_958_922)])
def test_vgg_parameters(depth: int, total: int) -> None:
    widths = [3, *VGG_WIDTHS[depth]]
    convs = sum(conv(i, o, 3, bias=True) for i, o in pairwise(widths))
    norms = sum(bn(o) for o in widths[1:])
    head = dense(512, 4096) + dense(4096, 4096) + dense(4096, 10)
    assert len(widths) - 1 == depth - 3, "the three dense layers are counted too"
    assert counted(f"vgg{depth}") == convs + norms + head == total
    assert counted(f"vgg{depth}", batch_norm=False) == convs + head
    with torch.device("meta"):
        original = getattr(vgg, f"vgg{depth}_bn")(num_classes=10)
    assert counted(f"vgg{depth}") == count(original) - 512 * (7 * 7 - 1) * 4096, "its last pool leaves 7 x 7"


def test_resnet18_has_11173962_parameters() -> None:
    total = conv(3, 64, 3) + bn(64) + dense(512, 10)
    width = 64
    for out in (64, 128, 256, 512):
        total += conv(width, out, 3) + 3 * conv(out, out, 3) + 4 * bn(out)
        total += (conv(width, out, 1) + bn(out)) * (width != out)
        width = out
    assert counted("resnet18") == total == 11_173_962
    with torch.device("meta"):
        original = resnet.resnet18(num_classes=10)
    assert counted("resnet18") == count(original) - conv(3, 64, 7) + conv(3, 64, 3)


@pytest.mark.parametrize(("final_norm", "expected"), [(False, 11_171_146), (True, 11_172_170)])
def test_preact_resnet18_parameters(final_norm: bool, expected: int) -> None:
    total = conv(3, 64, 3) + dense(512, 10) + bn(512) * final_norm
    width = 64
    for out in (64, 128, 256, 512):
        total += conv(width, out, 3) + 3 * conv(out, out, 3) + bn(width) + 3 * bn(out)
        total += conv(width, out, 1) * (width != out)
        width = out
    assert counted("preact_resnet18", final_norm=final_norm) == total == expected


@pytest.mark.parametrize(
    ("depth", "factor", "expected"), [(16, 4, 2_748_890), (28, 10, 36_479_194), (34, 10, 46_160_474)]
)
def test_wideresnet_parameters(depth: int, factor: int, expected: int) -> None:
    n = (depth - 4) // 6
    total = conv(3, 16, 3) + bn(64 * factor) + dense(64 * factor, 10)
    width = 16
    for out in (16 * factor, 32 * factor, 64 * factor):
        total += conv(width, out, 3) + (2 * n - 1) * conv(out, out, 3) + conv(width, out, 1)
        total += bn(width) + (2 * n - 1) * bn(out)
        width = out
    with torch.device("meta"):
        assert count(WideResNet(depth, factor, 3, 10)) == total == expected
    if factor == 10:
        assert counted(f"wideresnet{depth}_10") == expected


def test_stdcnn_parameters() -> None:
    convs = conv(1, 10, 3, True) + conv(10, 10, 3, True) + conv(10, 20, 3, True) + conv(20, 20, 3, True)
    assert counted("stdcnn", 1) == convs + dense(20 * 4 * 4, 50) + dense(50, 10) == 23_010


def test_mnist_cnn_parameters() -> None:
    convs = conv(1, 32, 3, True) + conv(32, 64, 3, True) + conv(64, 128, 3, True)
    assert counted("mnist_cnn", 1) == convs + dense(128 * 3 * 3, 128) + dense(128, 10) == 241_546
    assert counted("mnist_cnn", 1, hidden=7) == convs + dense(128 * 3 * 3, 7) + dense(7, 10)


@pytest.mark.parametrize("norm", ["batch", "mean_only"])
def test_convlarge_parameters(norm: str) -> None:
    widths = [3, 128, 128, 128, 256, 256, 256, 512, 256, 128]
    kernels = [3] * 7 + [1] * 2
    convs = sum(conv(i, o, k) for i, o, k in zip(widths, widths[1:], kernels, strict=False))
    total = convs + sum(bn(o) for o in widths[1:]) + dense(128, 10)
    assert counted("convlarge", norm=norm) == total == 3_121_802
    assert counted("convlarge", norm=norm, top_bn=True) == total + bn(10)


def test_autoencoder_parameters() -> None:
    assert counted("autoencoder", 1) == dense(784, 256) + dense(256, 784) == 402_448


# Outputs


@pytest.mark.parametrize("training", [True, False])
def test_resnet18_is_torchvisions_with_another_stem(training: bool) -> None:
    mine = stirred(build("resnet18")).train(training)
    other = resnet.resnet18(num_classes=10).double().train(training)
    other.conv1, other.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False).double(), nn.Identity()
    other.load_state_dict(mine.state_dict())
    x = torch.rand(3, 3, 12, 12, dtype=torch.float64)
    assert torch.allclose(mine(x), other(x), rtol=1e-9)


@pytest.mark.parametrize("norm", [True, False])
def test_vgg_is_torchvisions_but_for_the_head(norm: bool) -> None:
    blocks, cfg = (1, 1, 2, 1, 1), [64, "M", 128, "M", 256, 256, "M", 512, "M", 512, "M"]
    mine = VGG(blocks, 3, 10, hidden=20, batch_norm=norm, dropout=0.0, normalize=nn.Identity())
    head = [nn.Flatten(), nn.Linear(512, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 10)]
    other = nn.Sequential(*vgg.make_layers(cfg, batch_norm=norm), *head).double().eval()
    values = [v for _, v in sorted(stirred(mine).eval().state_dict().items(), key=_layer)]
    assert len(values) == len(other.state_dict())
    other.load_state_dict(dict(zip(other.state_dict(), values, strict=True)))
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    assert torch.allclose(mine(x), other(x), rtol=1e-9)


def _layer(entry: tuple[str, Tensor]) -> tuple[bool, int, bool, int]:
    """Order of torchvision's layers: number, convolution before norm; parts as torch lists them."""
    name, part = entry[0].split(".")
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return name[:2] == "fc", int(name.lstrip("abcdefghijklmnopqrstuvwxyz")), name[0] == "b", parts.index(part)


def norm_of(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean, var, w, b = (
        state[f"{name}.{p}"][:, None, None] for p in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * w + b


def preact_block(state: dict[str, Tensor], at: str, x: Tensor, stride: int) -> Tensor:
    h = norm_of(state, f"{at}.bn1", x).clamp_min(0)
    y = f.conv2d(h, state[f"{at}.conv1.weight"], stride=stride, padding=1)
    y = f.conv2d(norm_of(state, f"{at}.bn2", y).clamp_min(0), state[f"{at}.conv2.weight"], padding=1)
    shortcut = state.get(f"{at}.shortcut.weight")
    return y + (x if shortcut is None else f.conv2d(h, shortcut, stride=stride))


def test_wideresnet_by_hand() -> None:
    network = stirred(WideResNet(16, 2, 3, 10)).eval()
    state, x = network.state_dict(), torch.rand(2, 3, 8, 8, dtype=torch.float64)
    h = f.conv2d(x, state["conv1.weight"], padding=1)
    for block, stride in ((1, 1), (2, 2), (3, 2)):
        h = preact_block(state, f"block{block}.0", h, stride)
        h = preact_block(state, f"block{block}.1", h, 1)
    assert h.shape == (2, 128, 2, 2)
    h = norm_of(state, "bn", h).clamp_min(0).mean((2, 3))
    assert torch.allclose(network(x), h @ state["fc.weight"].T + state["fc.bias"], rtol=1e-9)


@pytest.mark.parametrize("final_norm", [False, True])
def test_preact_resnet18_by_hand(final_norm: bool) -> None:
    network = stirred(build("preact_resnet18", final_norm=final_norm)).eval()
    state, x = network.state_dict(), torch.rand(2, 3, 8, 8, dtype=torch.float64)
    h = f.conv2d(x, state["conv1.weight"], padding=1)
    for layer, stride in ((1, 1), (2, 2), (3, 2), (4, 2)):
        h = preact_block(state, f"layer{layer}.0", h, stride)
        h = preact_block(state, f"layer{layer}.1", h, 1)
    if final_norm:
        h = norm_of(state, "bn", h).clamp_min(0)
    expected = h.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]
    assert torch.allclose(network(x), expected, rtol=1e-9)


def by_order(layers: list[nn.Module], network: nn.Module) -> nn.Sequential:
    """The layers with the network's parameters, matched by their order."""
    other = nn.Sequential(*layers).double()
    torch.nn.utils.vector_to_parameters(
        torch.nn.utils.parameters_to_vector(network.parameters()).detach(), other.parameters()
    )
    return other.eval()


def test_stdcnn_by_hand() -> None:
    network = stirred(build("stdcnn", 1)).eval()
    relu, pool = nn.ReLU(), nn.MaxPool2d(2)
    other = by_order(
        [nn.Conv2d(1, 10, 3), relu, nn.Conv2d(10, 10, 3), relu, pool, nn.Conv2d(10, 20, 3), relu,
         nn.Conv2d(20, 20, 3), relu, pool, nn.Flatten(), nn.Linear(320, 50), relu, nn.Linear(50, 10)],
        network,
    )  # fmt: skip
    x = torch.rand(2, 1, 28, 28, dtype=torch.float64)
    assert torch.allclose(network(x), other(x), rtol=1e-9)


def test_mnist_cnn_by_hand() -> None:
    network = stirred(build("mnist_cnn", 1)).eval()
    layers: list[nn.Module] = []
    for i, o in ((1, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    other = by_order([*layers, nn.Flatten(), nn.Linear(1152, 128), nn.ReLU(), nn.Linear(128, 10)], network)
    x = torch.rand(2, 1, 28, 28, dtype=torch.float64)
    assert torch.allclose(network(x), other(x), rtol=1e-9)


@pytest.mark.parametrize("norm", ["batch", "mean_only"])
@pytest.mark.parametrize("top_bn", [False, True])
def test_convlarge_by_hand_in_train_mode(norm: str, top_bn: bool) -> None:
    network = build("convlarge", norm=norm, top_bn=top_bn, conv_dropout=0.0).double().train()
    x = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    p, h = dict(network.named_parameters()), x
    for n in range(1, 10):
        h = f.conv2d(h, p[f"conv{n}.weight"], padding=1 if n <= 6 else 0)
        h = h - h.mean((0, 2, 3), keepdim=True)
        if norm == "batch":
            h = h / (h.square().mean((0, 2, 3), keepdim=True) + 1e-6).sqrt()
        h = torch.where(h > 0, h, 0.1 * h)
        if n in (3, 6):
            h = f.max_pool2d(h, 2)
    assert h.shape == (3, 128, 6, 6)
    h = h.mean((2, 3)) @ p["fc.weight"].T
    if top_bn:
        h = (h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-6).sqrt()
    assert torch.allclose(network(x), h, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("output", ["sigmoid", "linear"])
def test_autoencoder_by_hand(output: str) -> None:
    network = build("autoencoder", 1, output=output).double().eval()
    p, x = dict(network.named_parameters()), torch.rand(5, 1, 28, 28, dtype=torch.float64)
    hidden = (x.reshape(5, 784) @ p["encoder.weight"].T + p["encoder.bias"]).clamp_min(0)
    y = hidden @ p["decoder.weight"].T + p["decoder.bias"]
    assert torch.allclose(network(x), 1 / (1 + (-y).exp()) if output == "sigmoid" else y)


# Settings, names, starts


def test_autoencoder_says_what_it_does() -> None:
    assert describe({"name": "autoencoder"}).task == "reconstruction"
    assert describe({"name": "lenet5"}).task == describe({"name": "lstm"}).task == "classification"


def test_the_papers_names_of_vgg16() -> None:
    """Those that DropAttack, Table 9, attacks."""
    info = describe({"name": "vgg16"})
    for alias in ("conv1.w", "conv2.w", "conv3.w", "conv5.w", "conv6.w", "batchnorm1.w", "batchnorm8.w"):
        assert info.resolve(alias, "x") == (alias.replace(".w", ".weight"),)
    assert "conv13.b" in info.aliases
    assert "conv14.w" not in info.aliases
    plain = describe({"name": "vgg16", "batch_norm": False})
    assert not any("batchnorm" in name for name in (*plain.aliases, *plain.parameters))
    assert info.resolve("batchnorm?.w*", "x") == tuple(f"batchnorm{n}.weight" for n in range(1, 10))


def test_the_papers_names_of_lenet5_and_convlarge() -> None:
    assert describe({"name": "lenet5"}).resolve("fc1.w", "x") == ("fc1.weight",), "DropAttack, Table 8"
    aliases = describe({"name": "convlarge", "top_bn": True}).aliases
    assert aliases["conv9.w"] == "conv9.weight"
    assert aliases["top_bn.b"] == "top_bn.bias"
    assert "conv1.b" not in aliases, "its convolutions have no bias"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "convlarge"}, {"dropout1": 0.5, "dropout2": 0.5, "dropout": 0.0}),
        ({"name": "convlarge", "conv_dropout": 0.2, "dropout": 0.1},
         {"dropout1": 0.2, "dropout2": 0.2, "dropout": 0.1}),
        ({"name": "stdcnn"}, {"dropout": 0.5}),
        ({"name": "mnist_cnn"}, {"dropout": 0.0}),
        ({"name": "autoencoder"}, {"dropout": 0.5}),
        ({"name": "resnet18", "dropout": 0.3}, {"dropout": 0.3}),
        ({"name": "preact_resnet18", "dropout": 0.3}, {"dropout": 0.3}),
        ({"name": "vgg16", "dropout": 0.5}, {"dropout1": 0.5, "dropout": 0.5}),
        ({"name": "wideresnet28_10", "dropout": 0.1, "block_dropout": 0.3},
         {f"block{b}.{i}.dropout": 0.3 for b in (1, 2, 3) for i in range(4)} | {"dropout": 0.1}),
    ],
)  # fmt: skip
def test_sites_and_their_probabilities(settings: dict[str, Any], expected: dict[str, float]) -> None:
    network = build(**settings, meta=True)
    found = {name: m.p for name, m in network.named_modules() if isinstance(m, Dropout)}
    assert found == expected
    assert describe(settings).sites == tuple(expected)


def test_convlarge_keeps_099_of_its_statistics() -> None:
    for norm, kind in (("batch", nn.BatchNorm2d), ("mean_only", MeanOnlyBatchNorm2d)):
        norms = [m for m in build("convlarge", meta=True, norm=norm).modules() if isinstance(m, kind)]
        assert len(norms) == 9
        assert {m.momentum for m in norms} == {0.01}


@pytest.mark.parametrize(
    ("name", "parameter", "variance"),
    [
        ("vgg16", "conv7.weight", 2 / (9 * 256)),
        ("vgg16", "fc1.weight", 0.01**2),
        ("resnet18", "conv1.weight", 2 / (9 * 64)),
        ("resnet18", "layer3.0.conv1.weight", 2 / (9 * 256)),
        ("convlarge", "conv4.weight", 2 / (9 * 128)),
        ("convlarge", "conv9.weight", 2 / 256),
        ("convlarge", "fc.weight", 2 / 128),
        ("preact_resnet18", "layer2.0.conv1.weight", 1 / (3 * 9 * 64)),
    ],
)
def test_starts(name: str, parameter: str, variance: float) -> None:
    settings = {"hidden": 64} if name == "vgg16" else {}
    w = build(name, **settings).get_parameter(parameter)
    assert w.std().item() == pytest.approx(sqrt(variance), rel=0.06)


def test_wideresnet_starts() -> None:
    torch.manual_seed(0)
    network = WideResNet(10, 4, 3, 10)
    w = network.get_parameter("block3.0.conv1.weight")
    assert w.std().item() == pytest.approx(sqrt(2 / (9 * 256)), rel=0.03)
    assert not network.get_parameter("fc.bias").any()


@pytest.mark.parametrize(
    "settings",
    [{"name": "resnet18"}, {"name": "preact_resnet18", "final_norm": True}, {"name": "vgg16", "hidden": 8},
     {"name": "convlarge"}, {"name": "convlarge", "norm": "mean_only", "top_bn": True}, {"name": "stdcnn"}],
)  # fmt: skip
def test_two_passes_in_train_mode_share_a_backward_pass(settings: dict[str, Any]) -> None:
    """Nothing that a backward pass needs is overwritten, neither by the second pass nor in place."""
    network = build(**settings).train()
    size = SIZES.get(settings["name"], 32)
    x = torch.rand(2, 3, size, size, requires_grad=True)
    (network(x).square().sum() + network(x * 0.5).square().sum()).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert not any(getattr(m, "inplace", False) for m in network.modules())
