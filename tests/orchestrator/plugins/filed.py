"""A data set whose file lies in the data folder alone, so that a node without it must be sent it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np

from engine.data.base import Arrays, Converted, DataConfig, DataInfo
from engine.errors import DataMissing


class Config(DataConfig):
    """48 images of 8 x 8, two classes, from ``filed.bin``."""

    name: Literal["filed"]

    def info(self) -> DataInfo:
        return DataInfo("image", 2, {"train": 32, "val": 8, "test": 8}, (1, 8, 8))

    def content(self) -> str:
        return hashlib.sha256(bytes(range(48)) * 64).hexdigest()

    def missing(self, root: Path | None) -> list[str]:
        return [] if root is not None and (root / "filed.bin").exists() else ["filed.bin"]

    def convert(self, root: Path | None) -> Converted:
        if root is None or self.missing(root):
            raise DataMissing("trial.data", "filed", "filed.bin in the data folder")
        x = np.frombuffer((root / "filed.bin").read_bytes(), np.uint8).reshape(48, 1, 8, 8)
        y = (np.arange(48) % 2).astype(np.int64)
        parts = {"train": slice(0, 32), "val": slice(32, 40), "test": slice(40, 48)}
        splits = {name: Arrays(x[part], y[part]) for name, part in parts.items()}
        return Converted(splits, self.info(), self.content(), 255.0)  # type: ignore[arg-type]
