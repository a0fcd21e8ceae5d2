"""What image models share: pixels normalised inside the network, dropout before the classifier."""

from __future__ import annotations

from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from engine.errors import InputError
from engine.models.base import ModelConfig, Shape
from engine.settings import Frozen, Positive

Rate = Annotated[float, Field(strict=True, ge=0, lt=1)]
"""Probability that dropout sets an element to zero, a number in [0, 1)."""


class Normalization(Frozen):
    """Mean and standard deviation of each channel, of pixels in [0, 1]."""

    mean: Annotated[tuple[Annotated[float, Field(strict=True)], ...], Field(min_length=1)]
    std: Annotated[tuple[Positive, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_pair_a_channel(self) -> Self:
        if len(self.std) != len(self.mean):
            legal = f"as many numbers as in mean, {len(self.mean)}"
            raise InputError("model.normalize.std", list(self.std), legal)
        return self


class Normalize(nn.Module):
    """(x - mean) / std for each channel.

    It stands inside the network, so that an attack acts on pixels in [0, 1]. Its numbers are settings,
    not weights: they are no part of the state dict.

    >>> Normalize((0.5,), (0.25,))(torch.ones(1, 1, 1, 1)).item()
    2.0
    """

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.register_buffer("mean_C11", torch.tensor(mean).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("std_C11", torch.tensor(std).reshape(-1, 1, 1), persistent=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Normalised images, of the same shape."""
        return (x_BCHW - self.mean_C11) / self.std_C11


def pooled(h_BCHW: Tensor) -> Tensor:
    """relu(max_pool(h)) over windows of 2 x 2, which is max_pool(relu(h)) on a quarter of the elements.

    ReLU keeps the order of numbers, and the positive ones as they are, so that values and gradients are the
    same in every bit but the sign of a zero; a step of the MNIST networks takes up to 6 % less on a CPU.

    >>> h = torch.tensor([[[[-2.0, -1.0], [3.0, 1.0]]]])
    >>> pooled(h).item(), pooled(-h.abs()).item()
    (3.0, 0.0)
    """
    return nn.functional.max_pool2d(h_BCHW, 2).relu()


class ImageConfig(ModelConfig):
    """Settings of an image model.

    Attributes:
        normalize: ``{mean: [...], std: [...]}``, a number for each channel, applied inside the network;
            None feeds the pixels as they are.
        dropout: probability at the site ``dropout``, which stands just before the last linear layer.
    """

    normalize: Normalization | None = None
    dropout: Rate = 0.0

    def takes(self) -> Shape | None:
        """As many channels as are normalised."""
        if self.normalize is None:
            return self.shape
        _, height, width = self.shape or (None, None, None)
        return len(self.normalize.mean), height, width

    def normalizer(self) -> nn.Module:
        """The first module of the network."""
        if self.normalize is None:
            return nn.Identity()
        return Normalize(self.normalize.mean, self.normalize.std)

    @model_validator(mode="after")
    def _normalizes_its_channels(self) -> Self:
        channels = self.shape[0] if self.shape else None
        if self.normalize is not None and channels not in (None, len(self.normalize.mean)):
            legal = f"as many numbers as the images have channels, {channels}"
            raise InputError("model.normalize.mean", list(self.normalize.mean), legal)
        return self


def weights_and_biases(*layers: str) -> dict[str, str]:
    """The papers' names for the parameters of these layers.

    >>> weights_and_biases("fc1")
    {'fc1.w': 'fc1.weight', 'fc1.b': 'fc1.bias'}
    """
    return {f"{layer}.{part[0]}": f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
