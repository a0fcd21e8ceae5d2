"""Nested, stratified subsets: the examples that a training-size curve is drawn over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError


def stratified_order(y: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A shuffled order of the examples of which every prefix is stratified.

    The examples of each class are shuffled. The j-th (j = 0, 1, ...) of the n_c examples of class c is put
    at (j + 1/2) / n_c, and all are sorted by that place, ties in random order. A prefix then shares its
    places among the classes by the Sainte-Laguë method, whose shares never shrink as the prefix grows.

    Args:
        y: labels, any whole numbers (N,).
        seed: a whole number >= 0.

    Returns:
        A permutation of 0 ... N - 1, int64 (N,).
    """
    shuffled, rank, counts = _shuffled(y, seed)
    return shuffled[np.argsort((rank + 0.5) / counts, kind="stable")]


def balanced_order(y: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A shuffled order of which every prefix has equally many examples of each class, to within one.

    As :func:`stratified_order` with the places j instead of (j + 1/2) / n_c. Once a class is used up the
    others go on.

    Args:
        y: labels, any whole numbers (N,).
        seed: a whole number >= 0.

    Returns:
        A permutation of 0 ... N - 1, int64 (N,).
    """
    shuffled, rank, _ = _shuffled(y, seed)
    return shuffled[np.argsort(rank, kind="stable")]


def _shuffled(
    y: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """A permutation_N and, for each of its places, the number within the class and the size of the class."""
    # The stream of RandomState is frozen (NEP 19); that of default_rng may change with numpy, and with it
    # the examples behind a key. SeedSequence takes seeds above 2**32, which RandomState(seed) refuses.
    generator = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    shuffled = generator.permutation(len(y)).astype(np.int64)
    _, classes, counts = np.unique(y[shuffled], return_inverse=True, return_counts=True)
    grouped = np.argsort(classes, kind="stable")
    rank = np.empty(len(y), dtype=np.int64)
    rank[grouped] = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    return shuffled, rank, counts[classes]


def subset(y: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Which examples a training set of ``size`` has; the same for every method.

    For one seed a smaller subset is contained in every larger one, and class proportions are as near to
    those of ``y`` as whole numbers allow.

    Args:
        y: labels of all training examples (N,).
        size: number of examples, 0 ... N.
        seed: the trial's seed.

    Returns:
        Indices into ``y``, ascending, int64 (size,).

    Raises:
        InputError: ``size`` is more than there are examples.

    >>> y = np.array([0, 0, 0, 0, 1, 1])
    >>> y[subset(y, 3, seed=0)].tolist()
    [0, 0, 1]
    """
    if not 0 <= size <= len(y):
        raise InputError("data.train_size", size, f"at most {len(y)}, the training examples")
    return np.sort(stratified_order(y, seed)[:size])


def labelled_subset(y: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Which examples keep their labels: equally many of each class, to within one.

    For one seed a smaller set is contained in every larger one.

    Args:
        y: labels of the training examples (N,).
        size: number of labels, 0 ... N.
        seed: the trial's seed.

    Returns:
        Indices into ``y``, ascending, int64 (size,).

    Raises:
        InputError: some class has too few examples for an equal share.

    >>> y = np.array([0, 0, 0, 0, 1, 1])
    >>> y[labelled_subset(y, 4, seed=0)].tolist()
    [0, 0, 1, 1]
    """
    _, counts = np.unique(y, return_counts=True)
    most = int(counts.min()) * len(counts)
    if not 0 <= size <= most:
        legal = f"at most {most}: equally many of each class, of which the rarest has {counts.min()}"
        raise InputError("data.labelled", size, legal)
    return np.sort(balanced_order(y, seed)[:size])
