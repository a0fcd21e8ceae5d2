"""LeNet-5 as DropAttack trains it on MNIST: 1-6-16 channels, kernels of 5, 400-120-84-10."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from engine.data.base import DataInfo
from engine.models.base import Shape
from engine.models.dropout import Dropout
from engine.models.image import ImageConfig, pooled

ALIASES = {f"{layer}.{part[0]}": f"{layer}.{part}"
           for layer in ("conv1", "conv2", "fc1", "fc2", "fc3") for part in ("weight", "bias")}  # fmt: skip


class LeNet5(nn.Module):
    """conv - ReLU - max pool, twice, then three fully connected layers.

    Args:
        channels: of the image. classes: number of logits. kernel, padding: of both convolutions.
        features: number of values that the second pooling leaves. dropout: probability before the last
            layer. normalize: applied to the images first.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        kernel: int,
        padding: tuple[int, int],
        features: int,
        dropout: float = 0.0,
        normalize: nn.Module | None = None,
    ):
        super().__init__()
        self.normalize = normalize or nn.Identity()
        self.conv1 = nn.Conv2d(channels, 6, kernel, padding=padding[0])
        self.conv2 = nn.Conv2d(6, 16, kernel, padding=padding[1])
        self.fc1 = nn.Linear(features, 120)
        self.fc2 = nn.Linear(120, 84)
        self.dropout = Dropout(dropout)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """logits_BC of x_BCHW."""
        h_BCHW = self.normalize(x_BCHW)
        h_BCHW = pooled(self.conv1(h_BCHW))
        h_BCHW = pooled(self.conv2(h_BCHW))
        h_BF = self.fc1(h_BCHW.flatten(1)).relu()
        logits_BC: Tensor = self.fc3(self.dropout(self.fc2(h_BF).relu()))
        return logits_BC


class Config(ImageConfig):
    """28 x 28 images, padded by 2 to the 32 x 32 of LeCun et al. (1998): 61,706 parameters.

    Source: DropAttack, section 4.2; the activations (ReLU, max pooling) are not given there.
    """

    aliases: ClassVar[dict[str, str]] = ALIASES
    shape: ClassVar[Shape | None] = (1, 28, 28)

    name: Literal["lenet5"]

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> LeNet5:
        """The network for this number of classes."""
        return LeNet5(
            1, data.classes, kernel=5, padding=(2, 0), features=400,
            dropout=self.dropout, normalize=self.normalizer(),
        )  # fmt: skip
