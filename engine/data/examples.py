"""One split on a device, batched by index: no data loader, no worker processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from engine.data.base import Arrays


@dataclass(frozen=True)
class Batch:
    """Some examples, as a method sees them. B examples, C channels, T tokens.

    Attributes:
        views: the examples, once or in several variants; ``views[0]`` is what is trained on. Images are
            x_BCHW, float32 in the data set's range; texts are token ids x_BT, int64, filled up with 0 to
            the longest.
        labels: y_B, int64; None where they are unknown.
        index: place of each example in the split of the *full* data set, int64 (B,), on the views'
            device; a training subset leaves it as it is, so that masks drawn by it agree between sizes.
        lengths: text only: lengths_B, int64, on the CPU, where ``pack_padded_sequence`` wants it.
        extra: how many of the last rows were added from the unlabelled examples; ``labels`` covers them
            too where they are pseudo-labelled, and is shorter than the batch where they are not.
        pseudo: whether ``extra`` rows are pseudo-labelled, also where this worker has none of them.
        attacked: the examples with perturbations that were made before the step (adaptive adversarial
            training), shaped as ``views[0]``; None where an attack is made in the step, or none.
        chosen: rows of the batch that are attacked, int64 (n,), on the CPU; None for all.
    """

    views: tuple[Tensor, ...]
    labels: Tensor | None
    index: Tensor
    lengths: Tensor | None = None
    extra: int = 0
    pseudo: bool = False
    attacked: Tensor | None = None
    chosen: Tensor | None = None

    def __len__(self) -> int:
        """B, all rows."""
        return len(self.index)

    def rows(self, rows: Tensor) -> Batch:
        """Some labelled rows of one view, in any order; ``rows`` is on the CPU, which knows the lengths."""
        at = rows.to(self.index.device, non_blocking=True)
        return Batch((self.views[0][at],), self.labels[at] if self.labels is not None else None,
                     self.index[at], None if self.lengths is None else self.lengths[rows])  # fmt: skip

    def part(self, first: int, end: int) -> Batch:
        """Rows ``first`` to ``end``, without ``chosen``."""
        return Batch(
            views=tuple(view[first:end] for view in self.views),
            labels=None if self.labels is None else self.labels[first:end],
            index=self.index[first:end],
            lengths=None if self.lengths is None else self.lengths[first:end],
            extra=max(0, min(end, len(self)) - max(first, len(self) - self.extra)),
            pseudo=self.pseudo,
            attacked=None if self.attacked is None else self.attacked[first:end],
        )


class Examples(ABC):
    """The examples of one split, or a subset of them, on a device.

    Attributes:
        labels: y_N, int64, on the device; None where they are unknown.
        index: place of each example in the full split, int64 (N,), on the device.
        lengths: text only: lengths_N, int64, on the CPU.
    """

    lengths: Tensor | None = None

    def __init__(self, labels: Tensor | None, index: Tensor) -> None:
        self.labels, self.index = labels, index

    @staticmethod
    def load(
        arrays: Arrays,
        scale: float,
        device: torch.device,
        keep: NDArray[np.int64] | None = None,
        first: int = 0,
    ) -> Examples:
        """Put a split on a device, once; on the CPU the converted file itself is used.

        Args:
            arrays: the split, as :func:`engine.data.store.open_data` returns it.
            scale: what a stored pixel is divided by.
            device: where batches are wanted.
            keep: places of the examples to use; None uses all.
            first: what ``index`` says of the first example, for examples that are counted on from others.
        """
        labels, index = _moved(arrays.y, device), _moved(np.arange(len(arrays.y)) + first, device)
        examples: Examples
        if arrays.offsets is None:
            examples = _Images(labels, index, _stored(arrays.x, device), scale)
        else:
            starts, lengths = arrays.offsets[:-1], np.diff(arrays.offsets)
            examples = _Texts(labels, index, _stored(arrays.x, device), starts, lengths)
        return examples if keep is None else examples.part(keep)

    def part(self, keep: NDArray[np.int64], labelled: bool = True) -> Examples:
        """Some of the examples, without another copy of them.

        Args:
            keep: their places among these examples, int64 (n,).
            labelled: whether they keep their labels.
        """
        part, rows = copy(self), _moved(keep, self.index.device)
        part.index = self.index[rows]
        part.labels = self.labels[rows] if labelled and self.labels is not None else None
        part._keep(rows)
        return part

    @abstractmethod
    def _keep(self, rows: Tensor) -> None:
        """Leave out the other examples, in place."""

    def _labels_of(self, index: Tensor) -> Tensor | None:
        return None if self.labels is None else self.labels[index]

    def __len__(self) -> int:
        """N, the number of examples."""
        return len(self.index)

    @abstractmethod
    def batch(self, index: Tensor) -> Batch:
        """The examples at some places.

        Args:
            index: places among the examples kept, 0 ... N - 1, int64 (B,). For images best on the device
                (nothing then waits for it); for texts on the CPU, which has to know the lengths.
        """


class _Images(Examples):
    """Pixels stay bytes on the device, a quarter of the memory; a batch is turned into floats."""

    def __init__(self, labels: Tensor, index: Tensor, x: Tensor, scale: float) -> None:
        super().__init__(labels, index)
        self._x, self._scale = x, scale
        self._rows: Tensor | None = None  # where each example is in x; None for one after the other

    def batch(self, index: Tensor) -> Batch:
        index = index.to(self._x.device, non_blocking=True)
        rows_B = index if self._rows is None else self._rows[index]
        # index_select is three times as fast as x[index] on rows of bytes.
        x_BCHW = self._x.index_select(0, rows_B).to(torch.float32).div_(self._scale)
        return Batch((x_BCHW,), self._labels_of(index), self.index[index])

    def _keep(self, rows: Tensor) -> None:
        self._rows = rows if self._rows is None else self._rows[rows]


class _Texts(Examples):
    """All tokens in one row on the device; a batch is one gather of B x T places."""

    def __init__(
        self,
        labels: Tensor,
        index: Tensor,
        tokens: Tensor,
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
    ) -> None:
        super().__init__(labels, index)
        device = tokens.device
        self._tokens, self._starts = tokens, _moved(starts, device)
        self._lengths = _moved(lengths, device)
        self.lengths: Tensor = _moved(lengths, torch.device("cpu"))

    def batch(self, index: Tensor) -> Batch:
        lengths_B = self.lengths[index.cpu()]
        index = index.to(self._tokens.device, non_blocking=True)
        longest = int(lengths_B.max()) if len(lengths_B) else 1  # a DDP worker's share can be empty
        place_T = torch.arange(longest, device=index.device)
        inside_BT = place_T < self._lengths[index, None]
        place_BT = (self._starts[index, None] + place_T).clamp_(max=len(self._tokens) - 1)
        x_BT = self._tokens.take(place_BT).to(torch.int64).mul_(inside_BT)
        return Batch((x_BT,), self._labels_of(index), self.index[index], lengths_B)

    def _keep(self, rows: Tensor) -> None:
        self._starts, self._lengths = self._starts[rows], self._lengths[rows]
        self.lengths = self.lengths[rows.cpu()]


def _moved(values: NDArray[np.generic], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)


def _stored(values: NDArray[np.generic], device: torch.device) -> Tensor:
    """Pixels or tokens on a device; on the CPU a view, so that all trials of a node share the mapped file.

    The view is only ever read from: writing to mapped read-only memory would end the process. DLPack is
    used since ``torch.from_numpy`` warns of read-only arrays.
    """
    if device.type != "cpu":
        return _moved(values, device)
    try:
        return from_dlpack(values)
    except BufferError:  # numpy before 2.1 does not export read-only arrays
        return _moved(values, device)
