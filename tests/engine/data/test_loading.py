"""What a trial is given to learn from, on digits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.components import find
from engine.data import loading
from engine.data.base import DataConfig
from engine.data.examples import Examples
from engine.data.loading import Splits, load
from engine.data.store import open_data
from engine.data.subset import subset
from engine.errors import InputError
from engine.perturb.random import derive

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Each test has a cache folder of its own, and what is kept in the process refers to it."""
    yield
    for kept in (loading._whole, loading._converted, loading._extra_images):
        kept.cache_clear()


def config(**chosen: Any) -> DataConfig:
    made = find("data", "digits", "data.name").model_validate({"name": "digits", **chosen})  # type: ignore[attr-defined]
    assert isinstance(made, DataConfig)
    return made


def digits(seed: int = 0, **chosen: Any) -> Splits:
    return load(config(**chosen), seed, CPU)


def places(examples: Examples | None) -> set[int]:
    assert examples is not None
    return set(examples.index.tolist())


def images_are_those_of(examples: Examples, wanted: np.ndarray) -> bool:
    batch = examples.batch(torch.arange(len(examples)))
    return torch.equal(batch.views[0] * 16, torch.tensor(wanted[batch.index.numpy()]).float())


def test_all_labels_by_default() -> None:
    splits = digits()
    assert splits.unlabelled is None
    assert len(splits.train) == 1437
    assert places(splits.train) == set(range(1437))


def test_a_subset_is_what_it_was() -> None:
    """As drawn since the first version: stratified, by this derived seed."""
    found = open_data(config()).splits["train"]
    splits = digits(seed=5, train_size=100)
    wanted = subset(found.y, 100, derive(5, "subset") % 2**32)
    assert splits.train.index.tolist() == wanted.tolist()
    assert splits.train.labels is not None
    assert splits.train.labels.tolist() == found.y[wanted].tolist()
    assert images_are_those_of(splits.train, found.x)


@pytest.mark.parametrize("train_size", [None, 400])
@pytest.mark.parametrize("unlabelled", ["rest", "all"])
def test_labelled_and_unlabelled_part_the_training_set(train_size: int | None, unlabelled: str) -> None:
    x = open_data(config()).splits["train"].x
    whole = digits(train_size=train_size)
    splits = digits(train_size=train_size, labelled=50, unlabelled=unlabelled)
    known, others = places(splits.train), places(splits.unlabelled)
    assert len(splits.train) == len(known) == 50
    assert known | others == places(whole.train)
    assert known & others == (known if unlabelled == "all" else set())
    assert splits.train.labels is not None
    assert torch.bincount(splits.train.labels).tolist() == [5] * 10
    assert splits.unlabelled is not None
    assert splits.unlabelled.labels is None
    assert splits.unlabelled.batch(torch.tensor([0, 3])).labels is None
    assert images_are_those_of(splits.train, x)
    assert images_are_those_of(splits.unlabelled, x)


def test_labels_are_nested_and_drawn_by_the_seed() -> None:
    few, more, other = digits(labelled=20), digits(labelled=300), digits(labelled=20, seed=1)
    assert places(few.train) < places(more.train)
    assert places(few.train) == places(digits(labelled=20).train)
    assert places(few.train) != places(other.train)


def test_validation_and_test_keep_their_labels() -> None:
    plain, splits = digits(), digits(labelled=20)
    assert splits.val is plain.val
    assert splits.test is plain.test


def test_no_example_is_stored_twice() -> None:
    plain, splits = digits(), digits(labelled=20, train_size=900)
    stored = {e._x.data_ptr() for e in (plain.train, splits.train, splits.unlabelled)}  # type: ignore[union-attr]
    assert len(stored) == 1


def test_more_labels_than_the_rarest_class_allows() -> None:
    with pytest.raises(InputError, match=r"data.labelled: 1437 is not legal: at most \d+: equally many"):
        digits(labelled=1437)


@pytest.fixture
def extra(tmp_path: Path) -> Path:
    x = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "extra.npz", image=x, label=np.arange(7))
    return tmp_path / "extra.npz"


def test_extra_images_are_unlabelled_and_counted_on(extra: Path) -> None:
    splits = digits(extra=extra)
    assert len(splits.train) == 1437
    assert splits.unlabelled is not None
    assert splits.unlabelled.labels is None
    assert splits.unlabelled.index.tolist() == list(range(1437, 1444))
    x = np.load(extra)["image"].transpose(0, 3, 1, 2)
    batch = splits.unlabelled.batch(torch.tensor([6, 0]))
    assert batch.index.tolist() == [1443, 1437]
    torch.testing.assert_close(batch.views[0], torch.tensor(x[[6, 0]]).float() / 255)


def test_extra_labels_are_pseudo_labels(extra: Path) -> None:
    unlabelled = digits(extra=extra, extra_labels=True, train_size=100).unlabelled
    assert unlabelled is not None
    assert unlabelled.batch(torch.tensor([2, 5])).labels.tolist() == [2, 5]  # type: ignore[union-attr]
    assert min(places(unlabelled)) == 1437


def test_a_changed_extra_file_is_read_again(extra: Path) -> None:
    digits(extra=extra)
    np.savez(extra, image=np.zeros((3, 1, 8, 8), np.uint8))
    unlabelled = digits(extra=extra).unlabelled
    assert unlabelled is not None
    assert len(unlabelled) == 3


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"extra_labels": True}, "data.extra_labels: True is not legal: false, or true beside data.extra"),
        ({"extra": "a.npz", "labelled": 10}, "data.extra: a.npz is not legal: none beside data.labelled"),
        ({"extra": "a.npz", "zca": True}, "data.extra: a.npz is not legal: none beside data.zca"),
    ],
)
def test_what_does_not_go_together(chosen: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        config(**chosen)
