"""Adversarial dropout masks: the flips of a base mask that raise a divergence most, to first order."""

from __future__ import annotations

import torch
from torch import Tensor


def adversarial_mask(base_BH: Tensor, jacobian_BH: Tensor, flips: int) -> Tensor:
    """argmax_e <J, e - e_s> over masks e with at most L flips from e_s, for each example.

    The gain of flipping unit i is (1 - 2 e_s,i) J_i; the L largest gains above zero are taken, which is
    Algorithm 1 (order by |J|, flip on-units with J < 0 and off-units with J > 0, stop at the budget).

    Args:
        base_BH: e_s in {0, 1}, any shape (B, ...). jacobian_BH: J, of the same shape. flips: L.

    Returns:
        e in {0, 1}, of the base's shape and type.

    Source: Adversarial Dropout, Algorithm 1 and Eq. 10; the released code takes a strict Hamming budget.

    >>> one = torch.ones(1, 3)
    >>> adversarial_mask(one, torch.tensor([[-1.0, 2.0, -3.0]]), 1)
    tensor([[1., 1., 0.]])
    """
    base, gain = base_BH.flatten(1), ((1 - 2 * base_BH) * jacobian_BH).flatten(1)
    if flips == 0:
        return base_BH.clone()
    gain = torch.where(gain.isfinite(), gain, 0.0)  # an overflow in half precision flips nothing
    best_BL, place_BL = gain.topk(min(flips, gain.shape[1]), dim=1)
    flipped = torch.zeros_like(base).scatter(1, place_BL, (best_BL > 0).to(base.dtype))
    return ((1 - 2 * base) * flipped + base).view_as(base_BH)


def rescaled(mask_BH: Tensor) -> Tensor:
    """e * H / sum(e) for each example, so that a layer's sum keeps its scale; zero stays zero.

    Source: Adversarial Dropout's released code.
    """
    return mask_BH * unit_scale(mask_BH)


def unit_scale(mask_BH: Tensor) -> Tensor:
    """H / sum(e) for each example, shaped to broadcast; H where no unit is on."""
    flat = mask_BH.flatten(1)
    scale_B = flat.shape[1] / flat.sum(1).clamp_min(1)
    return scale_B.view(-1, *[1] * (mask_BH.dim() - 1))
