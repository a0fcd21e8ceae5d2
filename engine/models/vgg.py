"""VGG for 32 x 32 images: 3 x 3 convolutions in five blocks, then 512-4096-4096-C."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from engine.data.base import DataInfo
from engine.models.base import Shape
from engine.models.dropout import Dropout
from engine.models.image import ImageConfig, pooled, weights_and_biases
from engine.settings import Count, Flag

WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """conv - [batch norm] - ReLU, as often as each block says, max pool after each block; three dense layers.

    Convolutions are numbered through the blocks: ``conv1``, ``batchnorm1``, ``conv2`` ... They start from
    He's normal distribution (fan out), dense layers from N(0, 0.01^2), biases from 0, as in torchvision;
    without batch norm torch's own start would let the signal die out over 16 layers.

    Args:
        blocks: number of convolutions in each block. channels: of the image. classes: number of logits.
        hidden: width of the two hidden dense layers. batch_norm: whether a convolution has one.
        dropout: probability after each hidden dense layer. normalize: applied to the images first.
    """

    def __init__(
        self,
        blocks: tuple[int, ...],
        channels: int,
        classes: int,
        hidden: int,
        batch_norm: bool,
        dropout: float,
        normalize: nn.Module,
    ):
        super().__init__()
        self.normalize = normalize
        self.blocks, self.batch_norm = blocks, batch_norm
        number, width = 0, channels
        for depth, out in zip(blocks, WIDTHS, strict=True):
            for _ in range(depth):
                number += 1
                self.add_module(f"conv{number}", nn.Conv2d(width, out, 3, padding=1))
                if batch_norm:
                    self.add_module(f"batchnorm{number}", nn.BatchNorm2d(out))
                width = out
        self.fc1 = nn.Linear(width, hidden)
        self.dropout1 = Dropout(dropout)
        self.fc2 = nn.Linear(hidden, hidden)
        self.dropout = Dropout(dropout)
        self.fc3 = nn.Linear(hidden, classes)
        self.apply(_initialise)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """logits_BC of x_BCHW."""
        h_BCHW, number = self.normalize(x_BCHW), 0
        for depth in self.blocks:
            for left in reversed(range(depth)):
                number += 1
                h_BCHW = getattr(self, f"conv{number}")(h_BCHW)
                if self.batch_norm:
                    h_BCHW = getattr(self, f"batchnorm{number}")(h_BCHW)
                h_BCHW = h_BCHW.relu() if left else pooled(h_BCHW)
        h_BF = self.dropout1(self.fc1(h_BCHW.flatten(1)).relu())
        logits_BC: Tensor = self.fc3(self.dropout(self.fc2(h_BF).relu()))
        return logits_BC


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    else:
        return
    assert module.bias is not None
    nn.init.zeros_(module.bias)


class VGGConfig(ImageConfig):
    """Settings of a VGG.

    Attributes:
        batch_norm: batch norm between convolution and ReLU. hidden: width of the two hidden dense layers.
        dropout: probability after each of them, at the sites ``dropout1`` and ``dropout``; Simonyan and
            Zisserman use 0.5, DropAttack's baseline none.
    """

    shape: ClassVar[Shape | None] = (None, 32, 32)
    blocks: ClassVar[tuple[int, ...]]

    batch_norm: Flag = True
    hidden: Count = 4096

    def known_as(self) -> dict[str, str]:
        """``conv1.w`` ..., ``batchnorm1.w`` ..., ``fc1.w`` ..."""
        layers = ("conv", "batchnorm") if self.batch_norm else ("conv",)
        numbers = range(1, sum(self.blocks) + 1)
        names = [f"{layer}{number}" for layer in layers for number in numbers]
        return weights_and_biases(*names, "fc1", "fc2", "fc3")

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> VGG:
        """The network for this number of channels and classes."""
        return VGG(
            self.blocks, data.shape[0], data.classes, self.hidden, self.batch_norm, self.dropout,
            self.normalizer(),
        )  # fmt: skip
