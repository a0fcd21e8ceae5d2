"""A small residual network with batch normalisation, or with that of the mean alone."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from engine.data.base import DataInfo
from engine.models.dropout import Dropout
from engine.models.image import ImageConfig
from engine.models.norm import MeanOnlyBatchNorm2d


class Residual(nn.Module):
    """conv - norm - ReLU - conv - norm, added to the first convolution's output; averages; logits."""

    def __init__(self, channels: int, classes: int, norm: type[nn.Module], dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4, 3, padding=1, bias=False)
        self.norm1 = norm(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm2 = norm(4)
        self.dropout = Dropout(dropout)
        self.fc = nn.Linear(16, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h_BCHW = self.norm1(self.conv1(x_BCHW)).relu()
        h_BCHW = (h_BCHW + self.norm2(self.conv2(h_BCHW))).relu()
        logits_BC: Tensor = self.fc(self.dropout(nn.functional.avg_pool2d(h_BCHW, 4).flatten(1)))
        return logits_BC


class Config(ImageConfig):
    name: Literal["normed"]
    norm: Literal["batch", "mean"] = "batch"

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> Residual:
        norm = nn.BatchNorm2d if self.norm == "batch" else MeanOnlyBatchNorm2d
        return Residual(data.shape[0], data.classes, norm, self.dropout)
