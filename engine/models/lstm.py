"""The one-layer LSTM that DropAttack trains on IMDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from engine.data.base import DataInfo
from engine.errors import InputError
from engine.files import file_hash
from engine.models.base import ModelConfig
from engine.models.vectors import embedding_matrix
from engine.settings import Count


class LSTMClassifier(nn.Module):
    """embedding - LSTM - a linear layer on the last hidden state, packed by length.

    Args:
        embedding_VD: initial embedding matrix; row 0 is the padding.
        hidden: width of the LSTM. classes: number of logits.
    """

    def __init__(self, embedding_VD: Tensor, hidden: int, classes: int):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(embedding_VD, freeze=False, padding_idx=0)  # type: ignore[no-untyped-call]
        self.lstm = nn.LSTM(embedding_VD.shape[1], hidden, batch_first=True)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, x_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """logits_BC of token ids x_BT with lengths_B (on the CPU)."""
        logits_BC: Tensor = self.fc(last_hidden(self.lstm, self.embedding(x_BT), lengths_B))
        return logits_BC


def last_hidden(lstm: nn.LSTM, h_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    """Hidden state_BH of a one-directional LSTM after the last token of each text.

    What follows a text cannot reach it, so running over the padding and taking the state at its length
    gives what packing gives. On a GPU packing saves the padding's work; on a CPU its backward pass copies
    the whole batch once a time step (B = 100, T = 256, D = 300: 11 s packed, 2 s padded, one thread).
    """
    if h_BTD.is_cuda:
        packed = pack_padded_sequence(h_BTD, lengths_B, batch_first=True, enforce_sorted=False)
        return torch.select(lstm(packed)[1][0], 0, 0)
    states_BTH: Tensor = lstm(h_BTD)[0]
    return states_BTH[torch.arange(len(lengths_B)), lengths_B - 1]


class Config(ModelConfig):
    """LSTM 300-300 with a 300-C head.

    Attributes:
        embedding_dim: D. hidden: width of the LSTM.
        vectors: a text file of word vectors (word2vec or GloVe); None draws every row from N(0, 1). The
            key holds the file's content, not its path.

    Source: DropAttack, section 4.2; GloVe 6B 300d in its released code.
    """

    aliases: ClassVar[dict[str, str]] = {
        "embedding": "embedding.weight",
        "lstm.ih.w": "lstm.weight_ih_l0",
        "lstm.hh.w": "lstm.weight_hh_l0",
        "lstm.ih.b": "lstm.bias_ih_l0",
        "lstm.hh.b": "lstm.bias_hh_l0",
        "fc.w": "fc.weight",
        "fc.b": "fc.bias",
    }
    kind: ClassVar[Literal["image", "text"]] = "text"

    name: Literal["lstm"]
    embedding_dim: Count = 300
    hidden: Count = 300
    vectors: str | None = None

    def canonical(self) -> dict[str, Any]:
        """As of any model, with the content of the vector file in place of its path."""
        form = super().canonical()
        if self.vectors is not None:
            if not Path(self.vectors).is_file():
                raise InputError("model.vectors", self.vectors, "a file that exists")
            form["vectors"] = file_hash(Path(self.vectors))
        return form

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> LSTMClassifier:
        """The network for this vocabulary and number of classes."""
        if self.vectors is not None and words:
            matrix_VD = embedding_matrix(words, Path(self.vectors), self.embedding_dim)
        else:
            matrix_VD = torch.randn(data.vocabulary, self.embedding_dim)
            matrix_VD[0] = 0.0
        return LSTMClassifier(matrix_VD, self.hidden, data.classes)
