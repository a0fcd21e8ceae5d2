"""CIFAR-10: small colour photographs of ten kinds of things."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.data.cifar import CifarConfig


class Config(CifarConfig):
    """Ten classes, airplane to truck; 40,000 / 10,000 / 10,000 (see :class:`engine.data.cifar.CifarConfig`).

    The last training file, which is the validation set, has its own class shares, about 1,000 of each.

    Source: Krizhevsky (2009), Learning multiple layers of features from tiny images.
    """

    published: ClassVar[str] = "CIFAR10"
    archive: ClassVar[tuple[str, str]] = ("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a")
    folder: ClassVar[str] = "cifar-10-batches-py"
    digests: ClassVar[dict[str, str]] = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    }
    labels: ClassVar[str] = "labels"

    name: Literal["cifar10"]
