"""TextRNN of DropAttack's Figure 2."""

from __future__ import annotations

from typing import Literal

from engine.models.recurrent import RecurrentConfig
from engine.models.text import Rate
from engine.settings import Count


class Config(RecurrentConfig):
    """Two BiLSTM layers of width 128 with a 256-C head on the top layer's final hidden states.

    DropAttack names the model and gives no settings. These are those of a widely used implementation,
    which drops elements between the layers; here they are dropped before the last linear layer.

    Attributes:
        embedding_dim, vectors, dropout: as in :class:`engine.models.text.TextConfig`.
        hidden, layers: as in :class:`engine.models.recurrent.RecurrentConfig`.

    Source: Liu et al. (IJCAI 2016), section 3, for an RNN whose last state is classified; the settings of
    https://github.com/649453932/Chinese-Text-Classification-Pytorch.
    """

    name: Literal["textrnn"]
    hidden: Count = 128
    layers: Count = 2
    dropout: Rate = 0.5
