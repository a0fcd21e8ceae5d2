"""TextRCNN: each word with what is left and right of it, the maximum over time."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from engine.data.base import DataInfo
from engine.models.dropout import Dropout
from engine.models.recurrent import all_states, recurrent_aliases
from engine.models.text import TextConfig, embedding, inside
from engine.settings import Count


class TextRCNN(nn.Module):
    """y_t = tanh(W [left_t; e_t; right_t] + b); logits of max over t of y_t.

    e_t is the word's vector; left_t the forward state of an LSTM after the word before it, right_t the
    backward state after the word behind it; zero where there is none.

    Args:
        matrix_VD: initial embedding matrix; row 0 is the padding.
        hidden: H, width of left_t and of right_t. latent: width of y_t.
        classes: number of logits. p: of the dropout.
    """

    def __init__(self, matrix_VD: Tensor, hidden: int, latent: int, classes: int, p: float) -> None:
        super().__init__()
        width = matrix_VD.shape[1]
        self.embedding = embedding(matrix_VD)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.latent = nn.Linear(width + 2 * hidden, latent)
        self.dropout = Dropout(p)
        self.fc = nn.Linear(latent, classes)

    def forward(self, x_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """logits_BC of token ids x_BT with lengths_B (on the CPU)."""
        h_BTD = self.embedding(x_BT)
        outside_BT1 = ~inside(lengths_B, h_BTD)[..., None]
        states_BTS = all_states(self.lstm, h_BTD, lengths_B).masked_fill(outside_BT1, 0.0)
        forwards_BTH, backwards_BTH = states_BTS.chunk(2, dim=2)
        left_BTH = nn.functional.pad(forwards_BTH[:, :-1], (0, 0, 1, 0))
        right_BTH = nn.functional.pad(backwards_BTH[:, 1:], (0, 0, 0, 1))
        y_BTY = self.latent(torch.cat((left_BTH, h_BTD, right_BTH), dim=2)).tanh()
        strongest_BY = y_BTY.masked_fill(outside_BT1, -torch.inf).amax(dim=1)
        logits_BC: Tensor = self.fc(self.dropout(strongest_BY))
        return logits_BC


class Config(TextConfig):
    """Contexts of width 50, a latent layer of width 100, and a 100-C head.

    DropAttack names the model and gives no settings. The widths are those of the source, but for the word
    vectors, which are as wide as DropAttack's. The contexts are an LSTM's states that start at zero, as is
    usual in place of the source's plain recurrence that starts at a trained vector.

    Attributes:
        embedding_dim, vectors, dropout: as in :class:`engine.models.text.TextConfig`.
        hidden: width of the left and of the right context. latent: width of the layer over them.

    Source: Lai et al. (AAAI 2015), Eq. 1-7 and section 4.3.
    """

    name: Literal["textrcnn"]
    hidden: Count = 50
    latent: Count = 100

    def known_as(self) -> dict[str, str]:
        """``embedding``, ``lstm.ih.w`` and so on, ``latent.w``, ``fc.w``."""
        ends = {"w": "weight", "b": "bias"}
        linear = {f"{la}.{end}": f"{la}.{name}" for la in ("latent", "fc") for end, name in ends.items()}
        return {"embedding": "embedding.weight", **recurrent_aliases("lstm", 1, 2), **linear}

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> TextRCNN:
        """The network for this vocabulary and number of classes."""
        return TextRCNN(self.matrix(data, words), self.hidden, self.latent, data.classes, self.dropout)
