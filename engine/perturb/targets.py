"""Where a perturbation acts: weights, or the input tensor. Apart from what the perturbation is.

Traps that this file exists for: weights are restored from a saved copy, not by subtracting, since
``w + r - r`` is not ``w`` in floating point and replicas would drift; they are restored also when the
pass raises; a perturbed weight keeps its storage, which cuDNN's recurrent layers rely on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from engine.data.examples import Batch


@contextmanager
def perturbed(
    network: nn.Module, r: Mapping[str, Tensor], rows: Mapping[str, Tensor] | None = None
) -> Iterator[None]:
    """Weights theta + r inside the block, bit for bit theta after it.

    Args:
        rows: for a weight that is perturbed in some of its rows alone, which: r holds only those.
    """
    rows = rows or {}
    weights = {name: network.get_parameter(name) for name in r}
    with torch.no_grad():
        saved = {n: w.detach()[rows[n]] if n in rows else w.detach().clone() for n, w in weights.items()}
        try:
            for name, w in weights.items():
                w.index_add_(0, rows[name], r[name]) if name in rows else w.add_(r[name])
            with torch.enable_grad():
                yield
        finally:
            for name, w in weights.items():
                w.index_copy_(0, rows[name], saved[name]) if name in rows else w.copy_(saved[name])


def lookup_table(network: nn.Module) -> str | None:
    """Name of the embedding matrix, when it is that of a module ``embedding`` and of no other."""
    module = dict(network.named_children()).get("embedding")
    if not isinstance(module, nn.Embedding):
        return None
    owners = [name for name, w in network.named_parameters(remove_duplicate=False) if w is module.weight]
    return "embedding.weight" if owners == ["embedding.weight"] else None


@contextmanager
def captured(network: nn.Module, names: tuple[str, ...]) -> Iterator[dict[str, Tensor]]:
    """The gradients that a backward pass inside the block brings to these parameters.

    ``.grad`` holds the sum over the passes of a step; what defines a perturbation is the gradient of one
    pass, taken here on its way, before it is added and before DistributedDataParallel averages it.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, g: Tensor) -> None:
        found[name] = g

    handles = [network.get_parameter(n).register_hook(partial(keep, n)) for n in names]  # type: ignore[no-untyped-call]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def input_shape(network: nn.Module, batch: Batch) -> tuple[int, ...]:
    """Shape of the tensor that the target ``input`` stands for: pixels, or the embedded text."""
    x = batch.views[0]
    if batch.lengths is None:
        return tuple(x.shape)
    return (*x.shape, network.get_parameter("embedding.weight").shape[1])


def content(batch: Batch) -> Tensor | None:
    """Where the tokens of a text are and not its padding, bool (B, T, 1); None for images."""
    if batch.lengths is None:
        return None
    place_T = torch.arange(batch.views[0].shape[1])
    inside_BT = place_T < batch.lengths[:, None]
    return inside_BT[:, :, None].to(batch.index.device, non_blocking=True)


def clamped(moved: Tensor, x: Tensor, clamp: tuple[float, float]) -> Tensor:
    """Moved pixels in [min(low, x), max(high, x)].

    Augmentation's noise leaves pixels outside of the range. There they may go further in, no further out:
    pulled onto the range, they would leave the ball around x.

    >>> clamped(torch.tensor([1.1, 1.4, 0.9]), torch.tensor([0.9, 1.3, 1.3]), (0.0, 1.0))
    tensor([1.0000, 1.3000, 0.9000])
    """
    low, high = clamp
    if not moved.requires_grad:
        return moved.clamp(x.clamp(max=low), x.clamp(min=high))
    # Between tensors clamp halves the gradient of pixels exactly at a bound, between numbers it is 0.
    below, above = (x < low) & (moved < low), (x > high) & (moved > high)
    kept = torch.where(below | above, moved, moved.clamp(low, high))
    return torch.where((below & (moved < x)) | (above & (moved > x)), x, kept)


def logits_of(
    forward: nn.Module,
    network: nn.Module,
    batch: Batch,
    r: Tensor | None = None,
    clamp: tuple[float, float] | None = None,
    view: int = 0,
) -> Tensor:
    """logits_BC of a batch whose input is perturbed by r.

    Args:
        forward: what is called: the network, or its DistributedDataParallel wrapper.
        network: the network itself.
        batch: images, or texts with lengths.
        r: added to the pixels x_BCHW, or to the embedded text h_BTD; None adds nothing.
        clamp: range that perturbed pixels are clamped to (see :func:`clamped`), or an embedded text.
        view: which of the batch's variants; the last one where there are fewer.
    """
    x = batch.views[min(view, len(batch.views) - 1)]
    if batch.lengths is None:
        if r is not None:
            x = x + r if clamp is None else clamped(x + r, x, clamp)
        images: Tensor = forward(x)
        return images
    if r is None:
        plain: Tensor = forward(x, batch.lengths)
        return plain

    def shift(module: nn.Module, inputs: object, h_BTD: Tensor) -> Tensor:
        moved = h_BTD + r
        return moved.clamp(*clamp) if clamp is not None else moved

    handle = network.get_submodule("embedding").register_forward_hook(shift)
    try:
        texts: Tensor = forward(x, batch.lengths)
        return texts
    finally:
        handle.remove()
