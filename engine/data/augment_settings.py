"""Settings of the augmentation of images; :mod:`engine.data.augment` applies them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.data.base import DataInfo
from engine.errors import InputError
from engine.settings import Flag, Frozen, NonNegative, Whole


class Augment(Frozen):
    """How training images are varied; the default leaves them as they are. Applied in the order given here.

    AWP: ``{crop: 4, padding: reflect, flip: true}`` for AT on CIFAR-10, ``{crop: 4, flip: true,
    rotation: 15}`` on CIFAR-100, ``{crop: 4, flip: true}`` for TRADES, none on SVHN. Adversarial Dropout:
    ``{crop: 2, flip: true, noise: 0.15}`` on CIFAR-10; its "translate 2" is a crop with padding by zeros.

    Attributes:
        crop: pixels of padding on each side, of which a part of the original size is cut out: a shift by
            -crop ... crop pixels in each direction.
        padding: what the padding holds: ``zero`` or ``reflect`` (mirrored, the edge not repeated).
        flip: whether an image is mirrored left to right, with probability 1/2.
        rotation: greatest angle in degrees; uniform between minus and plus this.
        cutout: side in pixels of a square set to zero; 0 for none.
        cutout_inside: whether the square lies wholly inside the image (Rice et al., whose side of 14 AWP
            takes), or has its centre on any pixel and is cut off at the edges (DeVries and Taylor).
        noise: standard deviation of Gaussian noise added to each pixel, in the range of the pixels; the
            sum is not clamped.
    """

    crop: Whole = 0
    padding: Literal["zero", "reflect"] = "zero"
    flip: Flag = False
    rotation: Annotated[float, Field(strict=True, ge=0, le=180)] = 0.0
    cutout: Whole = 0
    cutout_inside: Flag = False
    noise: NonNegative = 0.0

    def check(self, data: DataInfo) -> None:
        """Refuse settings that do not fit the data.

        Raises:
            InputError: they are not images, or are smaller than what is cut or padded.
        """
        if self == Augment():
            return
        if data.kind != "image":
            raise InputError("augment", self.model_dump(exclude_defaults=True), "left out: texts have none")
        side = min(data.shape[1:])
        if self.crop >= side:
            raise InputError("augment.crop", self.crop, f"below {side}, the side of an image")
        if self.cutout > side:
            raise InputError("augment.cutout", self.cutout, f"at most {side}, the side of an image")
