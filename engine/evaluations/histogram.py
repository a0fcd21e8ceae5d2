"""Histograms as the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.evaluations.base import Scalar

Span = tuple[float, float]
Row = dict[str, Scalar]


def bins_of(x: NDArray[np.float64], bins: int, span: Span | None) -> list[Row]:
    """Counts of values between equally spaced edges.

    Args:
        span: first and last edge; None takes the smallest and the largest value.

    >>> bins_of(np.array([0.0, 0.2, 1.0]), 2, None)
    [{'low': 0.0, 'high': 0.5, 'count': 2}, {'low': 0.5, 'high': 1.0, 'count': 1}]
    """
    counts, edges = np.histogram(x, bins, span)
    return rows_of(counts.tolist(), edges.tolist())


def rows_of(counts: Sequence[int], edges: Sequence[float]) -> list[Row]:
    """One row a bin: ``low``, ``high``, ``count``."""
    return [
        {"low": low, "high": high, "count": count}
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def refuse_empty(span: Span | None, where: str = "span") -> None:
    """Refuse a range without a value.

    Raises:
        InputError: its edges are not in order.
    """
    if span is not None and not span[0] < span[1]:
        raise InputError(where, span, "two numbers, the lower one first")
