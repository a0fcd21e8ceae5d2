"""ConvLarge, the nine-layer CNN of the semi-supervised experiments on SVHN and CIFAR-10."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from engine.data.base import DataInfo
from engine.models.base import Shape
from engine.models.dropout import Dropout
from engine.models.image import ImageConfig, Rate, weights_and_biases
from engine.models.norm import MeanOnlyBatchNorm2d
from engine.settings import Flag

Norm = Literal["batch", "mean_only"]

LAYERS = ((128, 3, 1), (128, 3, 1), (128, 3, 1), (256, 3, 1), (256, 3, 1), (256, 3, 1),
          (512, 3, 0), (256, 1, 0), (128, 1, 0))  # fmt: skip
"""Width, kernel and padding of each convolution."""

POOLED = {3: "dropout1", 6: "dropout2"}
"""Convolutions that a pool and a dropout follow."""

MOMENTUM, EPSILON = 0.01, 1e-6


class ConvLarge(nn.Module):
    """Nine times conv - norm - leaky ReLU (0.1), mean over pixels, dropout, logits, [batch norm].

    Convolutions have no bias; their weights and those of the dense layer start from N(0, 2 / fan in),
    its bias from 0. Norms keep 0.99 of their running statistics a pass and have epsilon 1e-6.

    Args:
        channels: of the image. classes: number of logits. norm: after every convolution.
        top_bn: batch norm of the logits. conv_dropout: probability after the two pools.
        dropout: probability at the 128 means. normalize: applied to the images first.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        norm: Norm,
        top_bn: bool,
        conv_dropout: float,
        dropout: float,
        normalize: nn.Module,
    ):
        super().__init__()
        self.normalize = normalize
        width = channels
        for number, (out, kernel, padding) in enumerate(LAYERS, start=1):
            self.add_module(f"conv{number}", nn.Conv2d(width, out, kernel, padding=padding, bias=False))
            self.add_module(f"batchnorm{number}", _norm(norm, out))
            width = out
        self.dropout1, self.dropout2 = Dropout(conv_dropout), Dropout(conv_dropout)
        self.dropout = Dropout(dropout)
        self.fc = nn.Linear(width, classes)
        self.top_bn = nn.BatchNorm1d(classes, eps=EPSILON, momentum=MOMENTUM) if top_bn else None
        self.apply(_initialise)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """logits_BC of x_BCHW."""
        h_BCHW = self.normalize(x_BCHW)
        for number in range(1, len(LAYERS) + 1):
            h_BCHW = getattr(self, f"batchnorm{number}")(getattr(self, f"conv{number}")(h_BCHW))
            h_BCHW = nn.functional.leaky_relu(h_BCHW, 0.1)
            if number in POOLED:
                h_BCHW = getattr(self, POOLED[number])(nn.functional.max_pool2d(h_BCHW, 2))
        logits_BC: Tensor = self.fc(self.dropout(h_BCHW.mean((2, 3))))
        return logits_BC if self.top_bn is None else self.top_bn(logits_BC)


def _norm(norm: Norm, width: int) -> nn.Module:
    if norm == "mean_only":
        return MeanOnlyBatchNorm2d(width, MOMENTUM)
    return nn.BatchNorm2d(width, eps=EPSILON, momentum=MOMENTUM)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Config(ImageConfig):
    """32 x 32 images; 128, 256 and 512-256-128 channels: 3,121,802 parameters for 3 channels, 10 classes.

    Adversarial dropout acts on the 128 means over the pixels, at the site ``dropout``.

    Attributes:
        norm: ``batch``, or ``mean_only`` as in the experiments on CIFAR-10.
        top_bn: batch norm of the logits, as in the experiments on SVHN; always of mean and variance.
        conv_dropout: probability after the two pools, at the sites ``dropout1`` and ``dropout2``.

    Source: AdD, section on SVHN and CIFAR-10, and its released code; Laine and Aila (ICLR 2017), Table 5.
    """

    aliases: ClassVar[dict[str, str]] = weights_and_biases("fc")
    shape: ClassVar[Shape | None] = (None, 32, 32)

    name: Literal["convlarge"]
    norm: Norm = "batch"
    top_bn: Flag = False
    conv_dropout: Rate = 0.5

    def known_as(self) -> dict[str, str]:
        """``conv1.w`` ..., ``batchnorm1.w``, ``batchnorm1.b`` ..., ``fc.w``, ``fc.b``."""
        numbers = range(1, len(LAYERS) + 1)
        convs = {f"conv{n}.w": f"conv{n}.weight" for n in numbers}
        top = ["top_bn"] if self.top_bn else []
        return convs | weights_and_biases(*(f"batchnorm{n}" for n in numbers), "fc", *top)

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> ConvLarge:
        """The network for this number of channels and classes."""
        return ConvLarge(
            data.shape[0], data.classes, self.norm, self.top_bn, self.conv_dropout, self.dropout,
            self.normalizer(),
        )  # fmt: skip
