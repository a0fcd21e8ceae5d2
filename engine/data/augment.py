"""Augmentation of a batch of images on its device.

Every random choice is a function of (seed, step, view, the example's place in its split, kind of choice), so
that it depends neither on the batch an example came in nor on how many workers share the batch; and
switching one kind on or off changes no choice of another.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from engine.data.augment_settings import Augment
from engine.perturb.random import normal, uniform

_KINDS = ("shift_y", "shift_x", "flip", "angle", "cut_y", "cut_x")  # columns of the numbers of an example


def augment(x_BCHW: Tensor, settings: Augment, seed: int, step: int, rows_B: Tensor, view: int = 0) -> Tensor:
    """Images shifted, mirrored, rotated, with a square cut out and with noise, in this order.

    Nothing waits for the device. The result is bit for bit the same for any share of the batch, except that
    noise and rotation may differ by rounding.

    Args:
        x_BCHW: images, float32.
        settings: what is done; nothing gives back ``x_BCHW`` itself.
        seed, step: the trial's seed, the optimisation step.
        rows_B: place of each example in its split, int64, on the device of the images.
        view: which of several variants of the same examples in the same step.

    Returns:
        Images of the same shape, never written into ``x_BCHW``.

    >>> x = torch.arange(8.0).view(2, 1, 2, 2)
    >>> both = augment(x, Augment(crop=1, flip=True), 0, 0, torch.tensor([5, 9]))
    >>> bool((both[1:] == augment(x[1:], Augment(crop=1, flip=True), 0, 0, torch.tensor([9]))).all())
    True
    """
    if settings == Augment():
        return x_BCHW
    numbers = uniform(seed, step, f"augment:{view}", rows_B, (len(rows_B), len(_KINDS)))
    u = dict(zip(_KINDS, numbers.unbind(1), strict=True))
    if settings.crop or settings.flip:
        x_BCHW = _shift(x_BCHW, settings, u)
    if settings.rotation:
        x_BCHW = rotate(x_BCHW, (2 * u["angle"] - 1) * settings.rotation)
    if settings.cutout:
        x_BCHW = _cut_out(x_BCHW, settings, u)
    if settings.noise:
        x_BCHW = x_BCHW + settings.noise * normal(
            seed, step, f"augment:noise:{view}", rows_B, tuple(x_BCHW.shape)
        )
    return x_BCHW


def _shift(x_BCHW: Tensor, settings: Augment, u: dict[str, Tensor]) -> Tensor:
    """Shift and mirror by one gather from the padded image."""
    height, width = x_BCHW.shape[2:]
    crop, device = settings.crop, x_BCHW.device
    j_BW = torch.arange(width, device=device).expand(len(x_BCHW), width)
    if settings.flip:
        j_BW = torch.where(u["flip"].unsqueeze(1) < 0.5, width - 1 - j_BW, j_BW)
    j_BW = j_BW + _below(u["shift_x"], 2 * crop + 1)
    i_BH = torch.arange(height, device=device) + _below(u["shift_y"], 2 * crop + 1)
    if crop:
        mode = "reflect" if settings.padding == "reflect" else "constant"
        x_BCHW = nn.functional.pad(x_BCHW, (crop, crop, crop, crop), mode=mode)
    place_BHW = i_BH.unsqueeze(2) * (width + 2 * crop) + j_BW.unsqueeze(1)
    places = place_BHW.flatten(1).unsqueeze(1).expand(-1, x_BCHW.shape[1], -1)
    return x_BCHW.flatten(2).gather(2, places).view(*x_BCHW.shape[:2], height, width)


def rotate(x_BCHW: Tensor, degrees_B: Tensor) -> Tensor:
    """Each image turned about its centre by its angle, counter-clockwise, bilinear, zero outside.

    As ``torchvision.transforms.functional.rotate`` with ``InterpolationMode.BILINEAR``: pixel centres are at
    half-integers (``align_corners=False``). torchvision's ``RandomRotation`` takes the nearest pixel unless
    told otherwise.
    """
    height, width = x_BCHW.shape[2:]
    radians_B11 = (degrees_B * (math.pi / 180)).view(-1, 1, 1)
    cos, sin = radians_B11.cos(), radians_B11.sin()
    y_H1 = (torch.arange(height, device=x_BCHW.device) - (height - 1) / 2).view(-1, 1)
    x_1W = (torch.arange(width, device=x_BCHW.device) - (width - 1) / 2).view(1, -1)
    from_x = (cos * x_1W - sin * y_H1) * (2 / width)
    from_y = (sin * x_1W + cos * y_H1) * (2 / height)
    grid_BHWx2 = torch.stack([from_x, from_y], dim=-1).to(x_BCHW.dtype)
    return nn.functional.grid_sample(x_BCHW, grid_BHWx2, align_corners=False)


def _cut_out(x_BCHW: Tensor, settings: Augment, u: dict[str, Tensor]) -> Tensor:
    height, width = x_BCHW.shape[2:]
    cut_BH = _inside_square(u["cut_y"], height, settings)
    cut_BW = _inside_square(u["cut_x"], width, settings)
    kept_BHW = ~(cut_BH.unsqueeze(2) & cut_BW.unsqueeze(1))
    return x_BCHW * kept_BHW.unsqueeze(1).to(x_BCHW.dtype)


def _inside_square(u_B: Tensor, size: int, settings: Augment) -> Tensor:
    """Which rows (or columns) of an image the square covers, bool (B, size)."""
    side = settings.cutout
    inside = settings.cutout_inside
    first_B1 = _below(u_B, size + 1 - side) if inside else _below(u_B, size) - side // 2
    place_S = torch.arange(size, device=u_B.device)
    return (place_S >= first_B1) & (place_S < first_B1 + side)


def _below(u_B: Tensor, count: int) -> Tensor:
    """Whole numbers 0 ... count - 1, equally likely, int64 (B, 1)."""
    return (u_B * count).long().unsqueeze(1)
