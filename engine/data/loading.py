"""A trial's data on its device, shared by the trials that one process runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.base import Converted, DataConfig, DataInfo
from engine.data.examples import Examples
from engine.data.extra import ExtraConfig
from engine.data.images import ImageConfig
from engine.data.store import open_data
from engine.data.subset import labelled_subset, subset
from engine.files import data_root
from engine.perturb.random import derive


@dataclass(frozen=True)
class Splits:
    """The examples of a trial.

    Attributes:
        train: those that are trained on with their labels. val, test: whole.
        info: kind, shape, classes and vocabulary. words: word of each token id of a text.
        unlabelled: further examples, whose labels are None unless they are pseudo-labels of an extra file.
            Their places go on after those of the training split where they are not of it.
    """

    train: Examples
    val: Examples
    test: Examples
    info: DataInfo
    words: tuple[str, ...] = ()
    unlabelled: Examples | None = None


def load(config: DataConfig, seed: int, device: torch.device) -> Splits:
    """The examples of a trial; the whole data set is read once by a process.

    Args:
        config: which data. seed: of the trial, which draws the subset. device: where the tensors live.

    Raises:
        DataMissing, InputError: the files are not there or not what was published.
    """
    whole = config.whole()
    splits = _whole(whole, device)
    y = _converted(whole).splits["train"].y
    keep = np.arange(len(y))
    if config.train_size is not None:
        keep = subset(y, config.train_size, _seed(seed, "subset"))
        splits = replace(splits, train=splits.train.part(keep))
    if config.labelled is not None:
        return _semi_supervised(splits, config, y[keep], seed)
    if isinstance(config, ImageConfig) and config.extra is not None:
        return replace(splits, unlabelled=_extra(config, splits, len(y), device))
    return splits


def _semi_supervised(splits: Splits, config: DataConfig, y: NDArray[np.int64], seed: int) -> Splits:
    """The training examples, of labels ``y``, parted into labelled and unlabelled ones."""
    assert config.labelled is not None
    known = labelled_subset(y, config.labelled, _seed(seed, "labelled"))
    others = np.arange(len(y))
    if config.unlabelled == "rest":
        others = np.setdiff1d(others, known, assume_unique=True)
    unlabelled = splits.train.part(others, labelled=False)
    return replace(splits, train=splits.train.part(known), unlabelled=unlabelled)


def _extra(config: ImageConfig, splits: Splits, first: int, device: torch.device) -> Examples:
    """The images of an extra file; their places start at ``first``, so that none is a training example's."""
    assert config.extra is not None
    file = ExtraConfig(
        path=config.extra, shape=config.shape, classes=splits.info.classes, labels=config.extra_labels
    )
    return _extra_images(file, file.content(), first, device)


@lru_cache(maxsize=1)
def _extra_images(file: ExtraConfig, content: str, first: int, device: torch.device) -> Examples:
    found = open_data(file, data_root())
    examples = Examples.load(found.splits["train"], found.scale, device, first=first)
    return examples if file.labels else examples.part(np.arange(len(examples)), labelled=False)


def _seed(seed: int, use: str) -> int:
    return derive(seed, use) % 2**32


@lru_cache(maxsize=2)
def _converted(config: DataConfig) -> Converted:
    return open_data(config, data_root())


@lru_cache(maxsize=2)
def _whole(config: DataConfig, device: torch.device) -> Splits:
    """Kept from trial to trial: a warm worker moves a data set to its device once."""
    found = _converted(config)
    train, val, test = (Examples.load(found.splits[s], found.scale, device) for s in ("train", "val", "test"))
    return Splits(train, val, test, found.info, found.words)
