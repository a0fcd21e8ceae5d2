"""A small text data set: made-up reviews, whose label is the more frequent of two words."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from engine.data.base import SPLITS, Arrays, Converted, DataConfig, DataInfo, Split

WORDS = ("<pad>", "<unk>", "bad", "good", *(f"word{i}" for i in range(8)))


class Config(DataConfig):
    """Texts of 1 to 9 tokens: 40 to train on, 12 for validation and 13 for test."""

    sizes: ClassVar[dict[Split, int]] = {"train": 40, "val": 12, "test": 13}

    name: Literal["toy_text"]

    def info(self) -> DataInfo:
        return DataInfo("text", classes=2, sizes=self.sizes)

    def content(self) -> str:
        return "made up in toy_text.py"

    def convert(self, root: Path | None) -> Converted:
        generator = np.random.RandomState(5)
        splits = {split: _split(generator, self.sizes[split]) for split in SPLITS}
        info = DataInfo("text", classes=2, sizes=self.sizes, vocabulary=len(WORDS))
        return Converted(splits, info, self.content(), words=WORDS)


def _split(generator: np.random.RandomState, size: int) -> Arrays:
    lengths = generator.randint(1, 10, size)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    x = generator.randint(1, len(WORDS), offsets[-1]).astype(np.int32)
    documents = np.split(x, offsets[1:-1])
    y = np.array([int((d == 3).sum() > (d == 2).sum()) for d in documents], dtype=np.int64)
    return Arrays(x, y, offsets)
