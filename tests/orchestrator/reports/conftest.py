"""What the report tests share: a wanted report, and the 7 x 7 grid with its 43 cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row


@dataclass(frozen=True)
class Wanted:
    grid: tuple[str, str] | None = None
    curve: str | None = None
    table: Literal["points"] | None = None
    metric: Any = None


@pytest.fixture
def want() -> type[Wanted]:
    return Wanted


@pytest.fixture
def grid(
    make_grid: Callable[..., list[Point]], make_rows: Callable[..., list[Row]]
) -> tuple[list[Point], list[Row]]:
    points = make_grid()
    return points, make_rows(points)


@pytest.fixture
def sizes(make_row: Callable[..., Row]) -> tuple[list[Point], list[Row]]:
    """Two methods at three training sizes, three seeds each; one seed of the last place is missing."""
    points = [
        Point({"point": name, "data.train_size": size}, f"{name}{size}")
        for name in ("standard", "DropAttack-3")
        for size in (1000, 100, 500)
    ]
    rows = [
        make_row(point.cell, seed, 0.5 + point.labels["data.train_size"] / 4000 + seed / 100)
        for point in points
        for seed in (0, 1, 2)
    ]
    return points, rows[:-1]
