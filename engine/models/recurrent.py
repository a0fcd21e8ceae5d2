"""Recurrent text classifiers: one or two directions, LSTM or GRU, padding never seen."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from engine.data.base import DataInfo
from engine.models.dropout import Dropout
from engine.models.text import TextConfig, embedding
from engine.settings import Count

Cell = Literal["lstm", "gru"]
_WEIGHTS = {"ih.w": "weight_ih", "hh.w": "weight_hh", "ih.b": "bias_ih", "hh.b": "bias_hh"}


class RecurrentClassifier(nn.Module):
    """embedding - recurrent layers - dropout - a linear layer on the top layer's final hidden states.

    Args:
        matrix_VD: initial embedding matrix; row 0 is the padding.
        cell: the name under which the network holds ``rnn``. rnn: the recurrent layers.
        classes: number of logits. p: of the dropout.
    """

    def __init__(self, matrix_VD: Tensor, cell: Cell, rnn: nn.LSTM | nn.GRU, classes: int, p: float) -> None:
        super().__init__()
        self.cell = cell
        self.embedding = embedding(matrix_VD)
        self.add_module(cell, rnn)
        self.dropout = Dropout(p)
        self.fc = nn.Linear(rnn.hidden_size * (1 + rnn.bidirectional), classes)

    def forward(self, x_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """logits_BC of token ids x_BT with lengths_B (on the CPU)."""
        final_BS = final_states(getattr(self, self.cell), self.embedding(x_BT), lengths_B)
        logits_BC: Tensor = self.fc(self.dropout(final_BS))
        return logits_BC


class RecurrentConfig(TextConfig):
    """Settings of a :class:`RecurrentClassifier`.

    Attributes:
        cell: LSTM or GRU. directions: 1 reads each text forwards, 2 also backwards.
        hidden: H, the width of a direction. layers: recurrent layers, one upon the other.
    """

    cell: ClassVar[Cell] = "lstm"
    directions: ClassVar[Literal[1, 2]] = 2

    hidden: Count = 300
    layers: Count = 1

    def known_as(self) -> dict[str, str]:
        """``embedding``, ``fc.w``, and e.g. ``gru.ih.w`` (layer 0, forwards), ``gru.l1.hh.w.reverse``."""
        recurrent = recurrent_aliases(self.cell, self.layers, self.directions)
        return {"embedding": "embedding.weight", **recurrent, "fc.w": "fc.weight", "fc.b": "fc.bias"}

    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> RecurrentClassifier:
        """The network for this vocabulary and number of classes."""
        matrix_VD = self.matrix(data, words)
        kind = nn.LSTM if self.cell == "lstm" else nn.GRU
        rnn = kind(
            self.embedding_dim, self.hidden, self.layers,
            batch_first=True, bidirectional=self.directions == 2,
        )  # fmt: skip
        return RecurrentClassifier(matrix_VD, self.cell, rnn, data.classes, self.dropout)


def recurrent_aliases(cell: Cell, layers: int, directions: int) -> dict[str, str]:
    """The names of DropAttack's Tables 5-7 for the weights of a recurrent module.

    >>> recurrent_aliases("gru", 2, 2)["gru.l1.ih.w.reverse"]
    'gru.weight_ih_l1_reverse'
    """
    found = {}
    for layer in range(layers):
        for direction in range(directions):
            for alias, name in _WEIGHTS.items():
                place = f"l{layer}." if layer else ""
                end = (".reverse", "_reverse") if direction else ("", "")
                found[f"{cell}.{place}{alias}{end[0]}"] = f"{cell}.{name}_l{layer}{end[1]}"
    return found


def final_states(rnn: nn.LSTM | nn.GRU, h_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    """State of the top layer after the last token forwards and after the first one backwards: (B, S).

    Args:
        rnn: ``batch_first``, without dropout of its own; S is its width times its directions.
        h_BTD: embedded texts. lengths_B: their lengths, on the CPU.
    """
    if h_BTD.is_cuda:
        return packed_run(rnn, h_BTD, lengths_B)[1]
    states_BTS = all_states(rnn, h_BTD, lengths_B)
    last_BS = states_BTS[torch.arange(len(lengths_B)), lengths_B - 1]
    if not rnn.bidirectional:
        return last_BS
    return torch.cat((last_BS[:, : rnn.hidden_size], states_BTS[:, 0, rnn.hidden_size :]), dim=1)


def all_states(rnn: nn.LSTM | nn.GRU, h_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    """States of the top layer at each token, forwards then backwards: (B, T, S).

    Past the end of a text they mean nothing. What follows a text cannot reach it forwards; backwards it
    does not either once each text is turned round within its own length. So running over the padding
    gives what packing gives. On a GPU packing saves the padding's work; on a CPU its backward pass copies
    the whole batch once a time step (one direction, B = 100, T = 256, D = 300: 11 s packed, 2 s padded,
    one thread).

    Args:
        rnn, h_BTD, lengths_B: as of :func:`final_states`.
    """
    if h_BTD.is_cuda:
        return packed_run(rnn, h_BTD, lengths_B)[0]
    for layer in range(rnn.num_layers):
        states_BTS = _run(rnn, f"l{layer}", h_BTD)
        if rnn.bidirectional:
            backwards_BTH = _run(rnn, f"l{layer}_reverse", _turned(h_BTD, lengths_B))
            states_BTS = torch.cat((states_BTS, _turned(backwards_BTH, lengths_B)), dim=2)
        h_BTD = states_BTS
    return h_BTD


def packed_run(rnn: nn.LSTM | nn.GRU, h_BTD: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """All states_BTS, zero past the end of a text, and the final ones (B, S), of packed texts.

    The rows are put in order here, by lengths that are known on the CPU: torch's own ordering of them
    (``enforce_sorted=False``) and back waits for the device each time.
    """
    falling_B, order_B = lengths_B.sort(descending=True, stable=True)
    to_B, back_B = (p.to(h_BTD.device, non_blocking=True) for p in (order_B, order_B.argsort()))
    packed = pack_padded_sequence(h_BTD.index_select(0, to_B), falling_B, batch_first=True)
    states, end = rnn(packed)
    final_LBH: Tensor = end[0] if isinstance(rnn, nn.LSTM) else end
    final_BS = torch.cat(tuple(final_LBH[-1 - rnn.bidirectional :]), dim=1)
    states_BTS = pad_packed_sequence(states, batch_first=True, total_length=h_BTD.shape[1])[0]
    return states_BTS.index_select(0, back_B), final_BS.index_select(0, back_B)


def _run(rnn: nn.LSTM | nn.GRU, place: str, h_BTD: Tensor) -> Tensor:
    """States_BTH of one layer in one direction, first token first."""
    weights: list[Tensor] = [getattr(rnn, f"{name}_{place}") for name in _WEIGHTS.values()]
    start_1BH = h_BTD.new_zeros(1, len(h_BTD), rnn.hidden_size)
    with torch.autocast("cpu", enabled=False):  # oneDNN has no LSTM in float16
        if isinstance(rnn, nn.LSTM):
            start = [start_1BH, start_1BH]
            return torch.lstm(h_BTD, start, weights, True, 1, 0.0, rnn.training, False, True)[0]
        return torch.gru(h_BTD, start_1BH, weights, True, 1, 0.0, rnn.training, False, True)[0]


def _turned(h_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    """Each text from its last token to its first; the padding stays where it is."""
    place_T = torch.arange(h_BTD.shape[1])
    turned_BT = lengths_B[:, None] - 1 - place_T
    from_BT = torch.where(turned_BT < 0, place_T, turned_BT)
    return h_BTD[torch.arange(len(lengths_B))[:, None], from_BT]
