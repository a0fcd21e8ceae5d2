"""StdCNN, which adaptive adversarial training uses on MNIST and Fashion-MNIST."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from engine.data.base import DataInfo
from engine.models.base import Shape
from engine.models.dropout import Dropout
from engine.models.image import ImageConfig, Rate, pooled, weights_and_biases


class StdCNN(nn.Module):
    """conv - ReLU twice and max pool, twice; 50 hidden units, dropout, logits. No padding.

    All layers start as torch has it.

    Args:
        channels: of the image. classes: number of logits. dropout: probability after the hidden units.
        normalize: applied to the images first.
    """

    def __init__(self, channels: int, classes: int, dropout: float, normalize: nn.Module):
        super().__init__()
        self.normalize = normalize
        self.conv1 = nn.Conv2d(channels, 10, 3)
        self.conv2 = nn.Conv2d(10, 10, 3)
        self.conv3 = nn.Conv2d(10, 20, 3)
        self.conv4 = nn.Conv2d(20, 20, 3)
        self.fc1 = nn.Linear(20 * 4 * 4, 50)
        self.dropout = Dropout(dropout)
        self.fc2 = nn.Linear(50, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """logits_BC of x_BCHW."""
        h_BCHW = self.conv1(self.normalize(x_BCHW)).relu()
        h_BCHW = pooled(self.conv2(h_BCHW))
        h_BCHW = self.conv3(h_BCHW).relu()
        h_BCHW = pooled(self.conv4(h_BCHW))
        logits_BC: Tensor = self.fc2(self.dropout(self.fc1(h_BCHW.flatten(1)).relu()))
        return logits_BC


class Config(ImageConfig):
    """28 x 28 images, 24, 12, 8 and 4 pixels a side behind the layers: 23,010 parameters for 1 channel.

    The paper does not say how its 3 x 3 convolutions are padded; here they are not, which is what its
    notation ``Conv(10,3,3)`` does by default in the library that it comes from (Keras).

    Source: Adaptive AT, Table 1.
    """

    aliases: ClassVar[dict[str, str]] = weights_and_biases("conv1", "conv2", "conv3", "conv4", "fc1", "fc2")
    shape: ClassVar[Shape | None] = (None, 28, 28)

    name: Literal["stdcnn"]
    dropout: Rate = 0.5

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> StdCNN:
        """The network for this number of channels and classes."""
        return StdCNN(data.shape[0], data.classes, self.dropout, self.normalizer())
