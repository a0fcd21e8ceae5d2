"""Rows, points and sweeps made up for tests: every number in them is arbitrary."""

from __future__ import annotations

import atexit
import gc
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row


def build_row(cell: str = "c0", seed: int = 0, value: float = 0.9, epochs: int = 3, **changes: Any) -> Row:
    """A row as a trial leaves it; ``changes`` replace any field.

    Accuracy rises by 0.01 an epoch to ``value``; a trial that is not completed has no final metrics.
    """
    history = [
        {
            "epoch": float(epoch),
            "train.loss": 1 / epoch,
            "val.loss": 1.5 / epoch,
            "val.accuracy": value - 0.01 * (epochs - epoch),
        }
        for epoch in range(1, epochs + 1)
    ]
    final = {
        "epoch": float(epochs),
        "val.accuracy": value,
        "val.loss": 0.5,
        "test.accuracy": value - 0.02,
        "test.loss": 0.6,
    }
    fields: dict[str, Any] = {
        "key": f"{cell}-{seed}",
        "cell": cell,
        "seed": seed,
        "status": "completed",
        "trial": {"data": {"name": "digits"}},
        "canonical": {"data": {"name": "digits", "content": "d1", "version": 1}},
        "history": history,
        "best_epoch": epochs,
        "timings": {"data": 0.1, "train": 2.0, "total": 2.5},
        "device": "cpu (x86_64)",
        "versions": {"python": "3.11.9", "torch": "2.15.0"},
        "git_commit": "0123456789abcdef",
        "data_hash": "d1" * 32,
        "contract": 1,
        "host": "node-1",
        "finished": f"2026-01-01T00:00:{seed % 60:02d}+00:00",
    }
    if changes.get("status", "completed") == "completed":
        fields |= {"best": final, "last": final}
    return Row(**(fields | changes))


def build_grid(
    epsilons: tuple[Any, ...] = (0.01, 0.1, 1, 3, 5, 7, 9),
    ps: tuple[Any, ...] = (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1),
) -> list[Point]:
    """Points of a grid over epsilon and p whose p = 0 row is one cell."""
    return [
        Point({"method.epsilon": epsilon, "method.p": p}, f"e{epsilon}p{p}" if p else "clean")
        for epsilon, p in itertools.product(epsilons, ps)
    ]


def build_rows(points: list[Point], seeds: tuple[int, ...] = (0, 1), epochs: int = 3) -> list[Row]:
    """A completed row for each cell and seed, with values that differ between cells and seeds."""
    cells = list(dict.fromkeys(point.cell for point in points))
    return [
        build_row(cell, seed, 0.88 + 0.002 * (i % 13) + 0.003 * seed, epochs)
        for i, cell in enumerate(cells)
        for seed in seeds
    ]


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    """What a command sets in its own process lasts no longer than the test that runs it in this one."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    atexit.unregister(gc.freeze)


@pytest.fixture
def make_row() -> Callable[..., Row]:
    return build_row


@pytest.fixture
def make_grid() -> Callable[..., list[Point]]:
    return build_grid


@pytest.fixture
def make_rows() -> Callable[..., list[Row]]:
    return build_rows
