"""Train or eval mode for the passes of an attack, without moving the network's own modes.

Trap that this file exists for: cuDNN's recurrent layers cannot be differentiated in eval mode ("cudnn RNN
backward can only be called in training mode"), so that an attack in eval mode fails on a GPU while a CPU
passes. Recurrent layers alone therefore stay in train mode, with the dropout between their layers off:
they then compute what they compute in eval mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import nn


@contextmanager
def attackable(network: nn.Module, mode: Literal["train", "eval"]) -> Iterator[None]:
    """The network in train or eval mode inside the block, differentiable by its input in both.

    Each module's own mode is put back after the block, also when it raises.

    >>> network = nn.Sequential(nn.Linear(2, 2), nn.LSTM(2, 2))
    >>> with attackable(network, "eval"):
    ...     [module.training for module in network]
    [False, True]
    >>> [module.training for module in network]
    [True, True]
    """
    modes = [(module, module.training) for module in network.modules()]
    recurrent = [module for module in network.modules() if isinstance(module, nn.RNNBase)]
    rates = [(rnn, rnn.dropout) for rnn in recurrent]
    try:
        network.train(mode == "train")
        if mode == "eval":
            for rnn in recurrent:
                rnn.training, rnn.dropout = True, 0.0
        yield
    finally:
        for module, training in modes:
            module.training = training
        for rnn, rate in rates:
            rnn.dropout = rate
