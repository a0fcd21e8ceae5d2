"""CIFAR-100: small colour photographs of a hundred kinds of things."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.data.cifar import CifarConfig


class Config(CifarConfig):
    """A hundred fine classes; 40,000 / 10,000 / 10,000 (see :class:`engine.data.cifar.CifarConfig`).

    Source: Krizhevsky (2009), Learning multiple layers of features from tiny images.
    """

    published: ClassVar[str] = "CIFAR100"
    archive: ClassVar[tuple[str, str]] = ("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85")
    folder: ClassVar[str] = "cifar-100-python"
    digests: ClassVar[dict[str, str]] = {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    }
    labels: ClassVar[str] = "fine_labels"
    classes: ClassVar[int] = 100

    name: Literal["cifar100"]
