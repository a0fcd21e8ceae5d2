"""The two-layer bidirectional GRU that DropAttack trains on AG News."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.models.recurrent import Cell, RecurrentConfig
from engine.settings import Count


class Config(RecurrentConfig):
    """Two BiGRU layers, 300-300 and 600-300, with a 600-C head on the top layer's final hidden states.

    The second layer reads both directions of the first, so its input has width 600.

    Attributes:
        embedding_dim, vectors, dropout: as in :class:`engine.models.text.TextConfig`.
        hidden: as in :class:`engine.models.recurrent.RecurrentConfig`.
        layers: 2; 1 is what the paper's released code trains on PHEME.

    Source: DropAttack, section 4.2 and Table 7, and its released code; Chung et al. (2014).
    """

    cell: ClassVar[Cell] = "gru"

    name: Literal["bigru"]
    layers: Count = 2
