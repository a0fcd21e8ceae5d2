"""PreAct ResNet-18 for small images, on which AWP is studied."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from engine.data.base import DataInfo
from engine.models.dropout import Dropout
from engine.models.image import ImageConfig, weights_and_biases
from engine.models.preact import stage
from engine.settings import Flag


class PreActResNet18(nn.Module):
    """3 x 3 convolution, four stages of two pre-activation blocks, [batch norm - ReLU], mean over pixels.

    All layers start as torch has it.

    Args:
        channels: of the image. classes: number of logits. final_norm: batch norm and ReLU after the last
            block. dropout: probability before the last layer. normalize: applied to the images first.
    """

    def __init__(self, channels: int, classes: int, final_norm: bool, dropout: float, normalize: nn.Module):
        super().__init__()
        self.normalize = normalize
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.layer1 = stage(2, 64, 64, 1)
        self.layer2 = stage(2, 64, 128, 2)
        self.layer3 = stage(2, 128, 256, 2)
        self.layer4 = stage(2, 256, 512, 2)
        self.bn = nn.BatchNorm2d(512) if final_norm else None
        self.dropout = Dropout(dropout)
        self.fc = nn.Linear(512, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """logits_BC of x_BCHW."""
        h_BCHW = self.conv1(self.normalize(x_BCHW))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            h_BCHW = layer(h_BCHW)
        if self.bn is not None:
            h_BCHW = self.bn(h_BCHW).relu()
        logits_BC: Tensor = self.fc(self.dropout(h_BCHW.mean((2, 3))))
        return logits_BC


class Config(ImageConfig):
    """Images of any size: 11,172,170 parameters for 3 channels and 10 classes.

    Attributes:
        final_norm: batch norm and ReLU after the last block, as He et al. describe them; widely copied code
            leaves them out (11,171,146 parameters). AWP's text does not say.

    Source: He et al. (ECCV 2016); AWP, section 3.
    """

    aliases: ClassVar[dict[str, str]] = {"conv1.w": "conv1.weight"} | weights_and_biases("fc")

    name: Literal["preact_resnet18"]
    final_norm: Flag = True

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> PreActResNet18:
        """The network for this number of channels and classes."""
        return PreActResNet18(
            data.shape[0], data.classes, self.final_norm, self.dropout, self.normalizer()
        )  # fmt: skip
