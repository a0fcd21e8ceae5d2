"""WideResNet of any depth and width, for small images."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from engine.data.base import DataInfo
from engine.models.dropout import Dropout
from engine.models.image import ImageConfig, Rate, weights_and_biases
from engine.models.preact import stage


class WideResNet(nn.Module):
    """3 x 3 convolution to 16 channels; three stages of (depth - 4) / 6 blocks; batch norm - ReLU - mean.

    The stages have 16, 32 and 64 times ``width`` channels. Convolutions start from He's normal
    distribution (fan out), the dense layer as torch has it with a bias of 0.

    Args:
        depth: 6 n + 4. width: factor on the channels. channels: of the image. classes: number of logits.
        dropout: probability before the last layer. block_dropout: inside each block.
        normalize: applied to the images first.

    Source: Zagoruyko and Komodakis (BMVC 2016), Table 1.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        channels: int,
        classes: int,
        dropout: float = 0.0,
        block_dropout: float = 0.0,
        normalize: nn.Module | None = None,
    ):
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        assert rest == 0
        self.normalize = normalize or nn.Identity()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.block1 = stage(blocks, 16, 16 * width, 1, block_dropout)
        self.block2 = stage(blocks, 16 * width, 32 * width, 2, block_dropout)
        self.block3 = stage(blocks, 32 * width, 64 * width, 2, block_dropout)
        self.bn = nn.BatchNorm2d(64 * width)
        self.dropout = Dropout(dropout)
        self.fc = nn.Linear(64 * width, classes)
        nn.init.zeros_(self.fc.bias)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """logits_BC of x_BCHW."""
        h_BCHW = self.conv1(self.normalize(x_BCHW))
        for block in (self.block1, self.block2, self.block3):
            h_BCHW = block(h_BCHW)
        h_BF = self.bn(h_BCHW).relu().mean((2, 3))
        logits_BC: Tensor = self.fc(self.dropout(h_BF))
        return logits_BC


class WideResNetConfig(ImageConfig):
    """Settings of a WideResNet.

    Attributes:
        block_dropout: probability between the two convolutions of each block, at the sites
            ``block1.0.dropout`` ...; Zagoruyko and Komodakis try 0.3, the four papers use none.
    """

    aliases: ClassVar[dict[str, str]] = {"conv1.w": "conv1.weight"} | weights_and_biases("fc")
    depth: ClassVar[int]
    width: ClassVar[int]

    block_dropout: Rate = 0.0

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> WideResNet:
        """The network for this number of channels and classes."""
        return WideResNet(
            self.depth, self.width, data.shape[0], data.classes, self.dropout, self.block_dropout,
            self.normalizer(),
        )  # fmt: skip
