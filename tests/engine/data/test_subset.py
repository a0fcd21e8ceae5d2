from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.subset import balanced_order, labelled_subset, stratified_order, subset
from engine.errors import InputError

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda y: np.array(y, dtype=np.int64))


@given(y=LABELS, seed=st.integers(0, 2**40), data=st.data())
@settings(deadline=None, max_examples=60)
def test_smaller_subsets_are_contained_in_larger_ones(y: np.ndarray, seed: int, data: st.DataObject) -> None:
    large = data.draw(st.integers(0, len(y)))
    small = data.draw(st.integers(0, large))
    chosen = subset(y, large, seed)
    assert len(chosen) == large
    assert np.all(np.diff(chosen) > 0)
    assert set(subset(y, small, seed).tolist()) <= set(chosen.tolist())


@given(y=LABELS, seed=st.integers(0, 9), data=st.data())
@settings(deadline=None, max_examples=60)
def test_class_shares_are_those_of_sainte_lague(y: np.ndarray, seed: int, data: st.DataObject) -> None:
    """No seat could move to another class and bring both nearer to their share: Balinski and Young."""
    size = data.draw(st.integers(0, len(y)))
    classes, totals = np.unique(y, return_counts=True)
    shares = np.array([np.sum(y[subset(y, size, seed)] == c) for c in classes])
    assert shares.sum() == size
    assert ((shares - 0.5) / totals).max() <= ((shares + 0.5) / totals).min() + 1e-12


def test_proportions_hold_at_every_size() -> None:
    y = np.repeat(np.arange(3), [500, 300, 200])
    for size in range(0, 1001, 7):
        counts = np.bincount(y[subset(y, size, seed=1)], minlength=3)
        assert np.abs(counts - size * np.array([0.5, 0.3, 0.2])).max() < 1


def test_the_seed_decides_and_nothing_else_does() -> None:
    y = np.arange(1000) % 10
    np.random.seed(0)
    first = subset(y, 100, seed=0)
    np.random.seed(1)
    assert np.array_equal(first, subset(y, 100, seed=0))
    assert not np.array_equal(first, subset(y, 100, seed=1))


def test_the_stream_is_pinned() -> None:
    """Keys promise these examples: if this fails, subsets behind old keys have changed."""
    assert stratified_order(np.arange(8) % 2, seed=7).tolist() == [7, 4, 6, 1, 5, 0, 2, 3]


def test_all_examples() -> None:
    assert subset(np.array([1, 0, 1]), 3, seed=5).tolist() == [0, 1, 2]


def test_more_than_there_are() -> None:
    with pytest.raises(InputError, match=r"data.train_size: 4 is not legal: at most 3"):
        subset(np.array([1, 0, 1]), 4, seed=5)


@given(y=LABELS, seed=st.integers(0, 2**40), data=st.data())
@settings(deadline=None, max_examples=60)
def test_labels_are_shared_equally_and_nested(y: np.ndarray, seed: int, data: st.DataObject) -> None:
    counts = np.unique(y, return_counts=True)[1]
    large = data.draw(st.integers(0, counts.min() * len(counts)))
    small = data.draw(st.integers(0, large))
    chosen = labelled_subset(y, large, seed)
    shares = [np.sum(y[chosen] == c) for c in np.unique(y)]
    assert sum(shares) == large == len(set(chosen.tolist()))
    assert max(shares) - min(shares) <= 1
    assert np.all(np.diff(chosen) > 0)
    assert set(labelled_subset(y, small, seed).tolist()) <= set(chosen.tolist())


def test_a_class_too_rare_for_an_equal_share() -> None:
    y = np.array([0, 0, 0, 0, 1, 1])
    with pytest.raises(InputError, match=r"data.labelled: 5 is not legal: at most 4: .* rarest has 2"):
        labelled_subset(y, 5, seed=0)


def test_the_stream_of_labels_is_pinned() -> None:
    assert balanced_order(np.array([0, 0, 0, 1, 0, 1, 0, 2]), seed=7).tolist() == PINNED


PINNED = [7, 4, 5, 6, 3, 1, 0, 2]
