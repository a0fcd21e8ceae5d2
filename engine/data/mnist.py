"""MNIST: handwritten digits."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.data.idx import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, IdxConfig


class Config(IdxConfig):
    """Handwritten digits 0 ... 9; 50,000 / 10,000 / 10,000 (see :class:`engine.data.idx.IdxConfig`).

    Source: LeCun, Bottou, Bengio, Haffner (1998), Gradient-based learning applied to document recognition.
    """

    published: ClassVar[str] = "MNIST"
    digests: ClassVar[dict[str, str]] = {
        TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }

    name: Literal["mnist"]
