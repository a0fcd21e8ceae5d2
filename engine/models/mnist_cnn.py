"""The three-layer CNN that adversarial dropout uses on MNIST."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from engine.data.base import DataInfo
from engine.models.base import Shape
from engine.models.dropout import Dropout
from engine.models.image import ImageConfig, pooled, weights_and_biases
from engine.settings import Count


class MnistCNN(nn.Module):
    """conv - ReLU - max pool with 32, 64 and 128 filters, a hidden dense layer, dropout, logits.

    All layers start as torch has it.

    Args:
        channels: of the image. classes: number of logits. hidden: width of the dense layer.
        dropout: probability after it. normalize: applied to the images first.
    """

    def __init__(self, channels: int, classes: int, hidden: int, dropout: float, normalize: nn.Module):
        super().__init__()
        self.normalize = normalize
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 128, 3, padding=1)
        self.fc1 = nn.Linear(128 * 3 * 3, hidden)
        self.dropout = Dropout(dropout)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """logits_BC of x_BCHW."""
        h_BCHW = self.normalize(x_BCHW)
        for conv in (self.conv1, self.conv2, self.conv3):
            h_BCHW = pooled(conv(h_BCHW))
        logits_BC: Tensor = self.fc2(self.dropout(self.fc1(h_BCHW.flatten(1)).relu()))
        return logits_BC


class Config(ImageConfig):
    """28 x 28 images, 14, 7 and 3 pixels a side behind the pools: 241,546 parameters for 1 channel.

    The paper gives the filters, the pools and that adversarial dropout acts on the final hidden layer
    alone, the site ``dropout``. The rest is in an appendix that is not at hand and chosen here: 3 x 3
    kernels padded by 1, ReLU, one hidden dense layer of 128, no other dropout.

    Attributes:
        hidden: width of the dense layer, the number H of units that adversarial dropout chooses from.

    Source: AdD, section "MNIST".
    """

    aliases: ClassVar[dict[str, str]] = weights_and_biases("conv1", "conv2", "conv3", "fc1", "fc2")
    shape: ClassVar[Shape | None] = (None, 28, 28)

    name: Literal["mnist_cnn"]
    hidden: Count = 128

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> MnistCNN:
        """The network for this number of channels and classes."""
        return MnistCNN(data.shape[0], data.classes, self.hidden, self.dropout, self.normalizer())
