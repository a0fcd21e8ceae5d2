"""A network on its device."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from engine.data.base import DataInfo

MemoryFormat = Literal["auto", "contiguous", "channels_last"]


def placed(
    network: nn.Module, data: DataInfo, device: torch.device, memory_format: MemoryFormat = "auto"
) -> nn.Module:
    """The network on its device, in the memory layout that trains fastest there.

    On a CPU channels-last halves LeNet-5's step: the input gradient of a convolution with few channels
    is slow otherwise.
    """
    network.to(device)
    last = memory_format == "channels_last" or (memory_format == "auto" and device.type == "cpu")
    if last and data.kind == "image":
        network.to(memory_format=torch.channels_last)
    return network
