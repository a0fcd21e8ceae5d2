"""The autoencoder whose features adversarial dropout is seen in: one hidden layer of ReLU units."""

from __future__ import annotations

from math import prod
from typing import ClassVar, Literal

from torch import Tensor, nn

from engine.data.base import DataInfo
from engine.models.base import ModelConfig, Task
from engine.models.dropout import Dropout
from engine.models.image import Rate, weights_and_biases
from engine.settings import Count

Output = Literal["sigmoid", "linear"]


class Autoencoder(nn.Module):
    """decoder(drop(relu(encoder(x)))), then the logistic function unless the output is linear.

    Both layers start as torch has them. A row of ``encoder.weight`` is the feature of a hidden unit.

    Args:
        pixels: number of values of an image. hidden: number of units. dropout: probability of each.
        output: ``sigmoid`` keeps the reconstruction in (0, 1), ``linear`` leaves it as it is.
    """

    def __init__(self, pixels: int, hidden: int, dropout: float, output: Output):
        super().__init__()
        self.output = output
        self.encoder = nn.Linear(pixels, hidden)
        self.dropout = Dropout(dropout)
        self.decoder = nn.Linear(hidden, pixels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The reconstruction x_BP of x_BCHW, P = C H W."""
        x_BP: Tensor = self.decoder(self.dropout(self.encoder(x_BCHW.flatten(1)).relu()))
        return x_BP.sigmoid() if self.output == "sigmoid" else x_BP


class Config(ModelConfig):
    """Images of any size, taken apart into pixels: 402,448 parameters for 28 x 28 pixels.

    Attributes:
        hidden: number of hidden units. dropout: probability of each, at the site ``dropout``.
        output: the paper does not say what the output layer applies; the pixels lie in [0, 1].

    Source: AdD, Fig. 2 and 3 (256 units, p = 0.5).
    """

    aliases: ClassVar[dict[str, str]] = weights_and_biases("encoder", "decoder")
    task: ClassVar[Task] = "reconstruction"

    name: Literal["autoencoder"]
    hidden: Count = 256
    dropout: Rate = 0.5
    output: Output = "sigmoid"

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> Autoencoder:
        """The network for this number of pixels."""
        return Autoencoder(prod(data.shape), self.hidden, self.dropout, self.output)
