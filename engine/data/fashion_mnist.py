"""Fashion-MNIST: articles of clothing, in MNIST's format."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.data.idx import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, IdxConfig


class Config(IdxConfig):
    """Ten kinds of clothing; 50,000 / 10,000 / 10,000 (see :class:`engine.data.idx.IdxConfig`).

    Source: Xiao, Rasul, Vollgraf (2017), Fashion-MNIST, arXiv 1708.07747.
    """

    published: ClassVar[str] = "FashionMNIST"
    digests: ClassVar[dict[str, str]] = {
        TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    }

    name: Literal["fashion_mnist"]
