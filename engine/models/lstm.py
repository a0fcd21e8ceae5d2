"""The one-layer LSTM that DropAttack trains on IMDB."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.models.recurrent import Cell, RecurrentConfig


class Config(RecurrentConfig):
    """LSTM 300-300 with a 300-C head on the last hidden state.

    Attributes:
        embedding_dim, vectors, dropout: as in :class:`engine.models.text.TextConfig`.
        hidden, layers: as in :class:`engine.models.recurrent.RecurrentConfig`.

    Source: DropAttack, section 4.2; GloVe 6B 300d in its released code.
    """

    cell: ClassVar[Cell] = "lstm"
    directions: ClassVar[Literal[1, 2]] = 1

    name: Literal["lstm"]
