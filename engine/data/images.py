"""What all sets of images have in common, and those published in a training and a test half."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from engine.data.base import Arrays, Converted, DataConfig, DataInfo, Split
from engine.data.extra import extra_hash
from engine.data.zca import whitened
from engine.errors import DataMissing, InputError
from engine.settings import Count, Flag

Half = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images uint8 (N, C, H, W) and labels int64 (N,)."""


class ImageConfig(DataConfig):
    """Settings that every set of images has.

    Attributes:
        zca: whether pixels are whitened by the training split's covariance (:mod:`engine.data.zca`).
        extra: a file of further images of this shape, without labels, such as the 500,000 Tiny Images of
            RST (:mod:`engine.data.extra`); a path below the data folder, or an absolute one. A key
            holds the SHA-256 of its content.
        extra_labels: whether the labels in that file are used, as pseudo-labels.
    """

    choices: ClassVar[frozenset[str]] = DataConfig.choices | {"extra", "extra_labels"}
    classes: ClassVar[int] = 10
    shape: ClassVar[tuple[int, int, int]]
    scale: ClassVar[float] = 255.0

    zca: Flag = False
    extra: Path | None = None
    extra_labels: Flag = False

    @model_validator(mode="after")
    def _extra_fits(self) -> Self:
        if self.extra is None and self.extra_labels:
            raise InputError("data.extra_labels", True, "false, or true beside data.extra")
        if self.extra is not None and self.labelled is not None:
            legal = "none beside data.labelled, which takes the unlabelled images from the training set"
            raise InputError("data.extra", str(self.extra), legal)
        if self.extra is not None and self.zca:
            legal = "none beside data.zca, which whitens the published images alone"
            raise InputError("data.extra", str(self.extra), legal)
        return self

    @property
    def has_unlabelled(self) -> bool:
        """Also from an extra file."""
        return super().has_unlabelled or self.extra is not None

    @abstractmethod
    def split_sizes(self) -> dict[Split, int]:
        """Number of examples of each split."""

    @abstractmethod
    def read(self, root: Path | None) -> dict[Split, Arrays]:
        """The published images in their splits; raises as :meth:`convert`."""

    def info(self) -> DataInfo:
        """Images of the set's shape, in [0, 1] unless they are whitened."""
        bounds = None if self.zca else (0.0, 1.0)
        return DataInfo("image", self.classes, self.split_sizes(), self.shape, range=bounds)

    def convert(self, root: Path | None) -> Converted:
        """Read and check the published files; whiten the images where that is set."""
        splits, scale = self.read(root), self.scale
        if self.zca:
            splits, scale = whitened(splits, scale), 1.0
        return Converted(splits, self.info(), self.content(), scale)

    def selection(self) -> dict[str, object]:
        """As :meth:`DataConfig.selection`; an extra file by its content."""
        form = super().selection()
        if self.extra is not None:
            form["extra"] = extra_hash(self.extra)
            if self.extra_labels:
                form["extra_labels"] = True
        return form


class PublishedImages(ImageConfig):
    """Images published in two halves, for training and for testing; the last of the former are held out.

    Attributes:
        validation: how many of the published training images are the validation set, the last ones; the
            others are trained on.
        published: name of the set in ``torchvision.datasets``.
        counts: published training and test images.
    """

    published: ClassVar[str]
    counts: ClassVar[tuple[int, int]]

    validation: Count = 10_000

    @model_validator(mode="after")
    def _some_are_left(self) -> Self:
        if self.validation >= self.counts[0]:
            legal = f"below {self.counts[0]}, the published training images"
            raise InputError("data.validation", self.validation, legal)
        return self

    @abstractmethod
    def halves(self, root: Path | None) -> tuple[Half, Half]:
        """The published training and test images; raises as :meth:`convert`."""

    def split_sizes(self) -> dict[Split, int]:
        """Number of examples of each split."""
        train, test = self.counts
        return {"train": train - self.validation, "val": self.validation, "test": test}

    def read(self, root: Path | None) -> dict[Split, Arrays]:
        """The published halves, the first one cut in two."""
        (x, y), (x_test, y_test) = self.halves(root)
        cut = len(y) - self.validation
        parts: dict[Split, Half] = {"train": (x[:cut], y[:cut]), "val": (x[cut:], y[cut:])}
        return {split: Arrays(*part) for split, part in parts.items()} | {"test": Arrays(x_test, y_test)}

    def absent(self, what: str, root: Path | None, places: list[str]) -> DataMissing:
        """The error for a published file that is in none of the places looked in below the data folder."""
        looked = ", ".join(str(root / place) for place in places) if root else "PERTURB_DATA is not set"
        legal = f"{what} is missing ({looked}); run `perturb data {self.name}` or set PERTURB_DATA"
        return DataMissing("data.name", repr(self.name), legal)
