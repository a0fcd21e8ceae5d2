"""ResNet-18 with a 3 x 3 stem, for small images."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from engine.data.base import DataInfo
from engine.models.dropout import Dropout
from engine.models.image import ImageConfig, weights_and_biases


class ResNet18(ResNet):  # type: ignore[misc]  # torchvision has no types
    """torchvision's ResNet-18 with a 3 x 3 convolution of stride 1 in place of the 7 x 7 one and its pool.

    Convolutions start from He's normal distribution (fan out), the dense layer as torch has it.

    Args:
        channels: of the image. classes: number of logits. dropout: probability before the last layer.
        normalize: applied to the images first.
    """

    def __init__(self, channels: int, classes: int, dropout: float, normalize: nn.Module):
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=classes)
        del self.maxpool
        self.normalize, self.dropout = normalize, Dropout(dropout)
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # several passes of a step may share a graph

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """logits_BC of x_BCHW."""
        h_BCHW = self.bn1(self.conv1(self.normalize(x_BCHW))).relu()
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            h_BCHW = layer(h_BCHW)
        logits_BC: Tensor = self.fc(self.dropout(h_BCHW.mean((2, 3))))
        return logits_BC


class Config(ImageConfig):
    """Images of any size; four stages of 64, 128, 256 and 512 channels: 11,173,962 parameters.

    (For 3 channels and 10 classes.)

    Source: He et al. (CVPR 2016); Adaptive AT, section 3.
    """

    aliases: ClassVar[dict[str, str]] = {"conv1.w": "conv1.weight"} | weights_and_biases("fc")

    name: Literal["resnet18"]

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> ResNet18:
        """The network for this number of channels and classes."""
        return ResNet18(data.shape[0], data.classes, self.dropout, self.normalizer())
