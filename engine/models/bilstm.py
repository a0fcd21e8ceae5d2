"""The bidirectional LSTM that DropAttack trains on PHEME."""

from __future__ import annotations

from typing import Literal

from engine.models.recurrent import RecurrentConfig


class Config(RecurrentConfig):
    """BiLSTM 300-300 with a 600-C head on the final hidden states of both directions.

    The paper's released PHEME code trains a one-layer BiGRU instead: ``{name: bigru, layers: 1}``.

    Attributes:
        embedding_dim, vectors, dropout: as in :class:`engine.models.text.TextConfig`.
        hidden, layers: as in :class:`engine.models.recurrent.RecurrentConfig`.

    Source: DropAttack, section 4.2 and Table 6; Schuster and Paliwal (1997).
    """

    name: Literal["bilstm"]
