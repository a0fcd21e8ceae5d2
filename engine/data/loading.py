"""A trial's data on its device, shared by the trials that one process runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from engine.data.base import Converted, DataConfig, DataInfo
from engine.data.examples import Examples
from engine.data.store import open_data
from engine.data.subset import subset
from engine.files import data_root
from engine.perturb.random import derive


@dataclass(frozen=True)
class Splits:
    """The examples of a trial.

    Attributes:
        train: the trial's subset. val, test: whole.
        info: kind, shape, classes and vocabulary. words: word of each token id of a text.
    """

    train: Examples
    val: Examples
    test: Examples
    info: DataInfo
    words: tuple[str, ...] = ()


def load(config: DataConfig, seed: int, device: torch.device) -> Splits:
    """The examples of a trial; the whole data set is read once by a process.

    Args:
        config: which data. seed: of the trial, which draws the subset. device: where the tensors live.

    Raises:
        DataMissing, InputError: the files are not there or not what was published.
    """
    whole = config.model_copy(update={"train_size": None})
    splits = _whole(whole, device)
    if config.train_size is None:
        return splits
    arrays = _converted(whole)
    keep = subset(arrays.splits["train"].y, config.train_size, derive(seed, "subset") % 2**32)
    train = Examples.load(arrays.splits["train"], arrays.scale, device, keep)
    return Splits(train, splits.val, splits.test, splits.info, splits.words)


@lru_cache(maxsize=2)
def _converted(config: DataConfig) -> Converted:
    return open_data(config, data_root())


@lru_cache(maxsize=2)
def _whole(config: DataConfig, device: torch.device) -> Splits:
    """Kept from trial to trial: a warm worker moves a data set to its device once."""
    found = _converted(config)
    train, val, test = (Examples.load(found.splits[s], found.scale, device) for s in ("train", "val", "test"))
    return Splits(train, val, test, found.info, found.words)
