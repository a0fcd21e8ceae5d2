"""TextCNN: convolutions over words, each filter's maximum over time."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from engine.data.base import DataInfo
from engine.models.dropout import Dropout
from engine.models.text import Rate, TextConfig, embedding, inside
from engine.settings import Count


class TextCNN(nn.Module):
    """embedding - convolutions of several widths side by side - maximum over time - dropout - linear.

    Only windows inside a text count; a text shorter than a window is filled up with zeros to one window.

    Args:
        matrix_VD: initial embedding matrix; row 0 is the padding.
        kernels: widths in words, each the module ``conv<width>``. filters: F, of each width.
        classes: number of logits. p: of the dropout.
    """

    def __init__(
        self, matrix_VD: Tensor, kernels: tuple[int, ...], filters: int, classes: int, p: float
    ) -> None:
        super().__init__()
        self.kernels = kernels
        self.embedding = embedding(matrix_VD)
        for kernel in kernels:
            self.add_module(f"conv{kernel}", nn.Conv1d(matrix_VD.shape[1], filters, kernel))
        self.dropout = Dropout(p)
        self.fc = nn.Linear(filters * len(kernels), classes)

    def forward(self, x_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """logits_BC of token ids x_BT with lengths_B."""
        h_BTD = self.embedding(x_BT)
        inside_BT = inside(lengths_B, h_BTD)
        # The padding's vector is zero, but not once the embedded text is perturbed.
        h_BTD = h_BTD.masked_fill(~inside_BT[..., None], 0.0)
        more = max(max(self.kernels) - h_BTD.shape[1], 0)
        h_BDT = nn.functional.pad(h_BTD, (0, 0, 0, more)).transpose(1, 2)
        found = [self._strongest(kernel, h_BDT, inside_BT) for kernel in self.kernels]
        logits_BC: Tensor = self.fc(self.dropout(torch.cat(found, dim=1)))
        return logits_BC

    def _strongest(self, kernel: int, h_BDT: Tensor, inside_BT: Tensor) -> Tensor:
        """max(0, max over windows) of each filter: (B, F)."""
        windows_BFT: Tensor = self.get_submodule(f"conv{kernel}")(h_BDT)
        count = windows_BFT.shape[2]
        ends_BT = nn.functional.pad(inside_BT, (0, h_BDT.shape[2] - inside_BT.shape[1]))[:, kernel - 1 :]
        first_T = torch.arange(count, device=h_BDT.device) == 0
        return windows_BFT.masked_fill(~(ends_BT | first_T)[:, None], -torch.inf).amax(dim=2).relu()


def _distinct(kernels: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(kernels)) != len(kernels):
        raise ValueError("each width once")
    return kernels


class Config(TextConfig):
    """Windows of 3, 4 and 5 words, 100 filters each, ReLU, and a 300-C head.

    DropAttack names the model and gives no settings; these are the usual ones. The norm constraint that
    the source puts on the last layer's rows is left out.

    Attributes:
        embedding_dim, vectors, dropout: as in :class:`engine.models.text.TextConfig`.
        kernels: widths of the windows in words, each once. filters: of each width.

    Source: Kim (EMNLP 2014), sections 2 and 3.1.
    """

    name: Literal["textcnn"]
    kernels: Annotated[tuple[Count, ...], Field(min_length=1), AfterValidator(_distinct)] = (3, 4, 5)
    filters: Count = 100
    dropout: Rate = 0.5

    def known_as(self) -> dict[str, str]:
        """``embedding``, ``conv3.w`` for the windows of three words and so on, ``fc.w``."""
        layers = [f"conv{kernel}" for kernel in self.kernels] + ["fc"]
        ends = {"w": "weight", "b": "bias"}
        found = {f"{layer}.{end}": f"{layer}.{name}" for layer in layers for end, name in ends.items()}
        return {"embedding": "embedding.weight", **found}

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> TextCNN:
        """The network for this vocabulary and number of classes."""
        return TextCNN(self.matrix(data, words), self.kernels, self.filters, data.classes, self.dropout)
