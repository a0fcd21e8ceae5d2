from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports import schedules
from orchestrator.reports.summary import Measure

METRIC = Measure("val.accuracy")
POINTS = [Point({}, "c0")]


def segment(epoch: int, epsilon: Any, donor: str = "") -> dict[str, Any]:
    return {"epoch": epoch, "from": donor, "settings": {"method.epsilon": epsilon}}


def population(make_row: Callable[..., Row]) -> list[Row]:
    return [
        make_row(seed=0, value=0.7, lineage=[segment(1, 4.0), segment(3, 0.5, "c0-1")]),
        make_row(seed=1, value=0.9, lineage=[segment(1, 1.0), segment(2, 1.5, "c0-0")]),
        make_row(seed=2, status="diverged", lineage=[segment(1, 100.0)]),
    ]


def test_the_best_and_its_schedule_in_a_line(make_row: Callable[..., Row]) -> None:
    rows = population(make_row)
    (line,) = schedules.lines(rows, METRIC)
    assert line == (
        "best member c0-1, val.accuracy 90.00: method.epsilon 1 from epoch 1, 1.5 from epoch 2"
    )  # fmt: skip
    worst = Measure("val.accuracy", "min")
    assert schedules.best_of(rows, worst) is rows[0]
    assert schedules.lines(rows[2:], METRIC) == [], "a diverged member is never the best"


def test_all_segments_are_in_the_table(make_row: Callable[..., Row]) -> None:
    content = schedules.table(population(make_row))["schedules.csv"].decode()
    header, *lines = csv.reader(io.StringIO(content))
    assert header == ["member", "epoch", "method.epsilon", "from"]
    assert lines[1] == ["c0-0", "3", "0.5", "c0-1"]
    assert len(lines) == 5


@pytest.mark.parametrize(("value", "drawn"), [(2.0, True), ("pgd", False), (True, False)])
def test_numbers_are_drawn(make_row: Callable[..., Row], value: Any, drawn: bool) -> None:
    rows = [make_row(lineage=[segment(1, value)])]
    assert [content[:4] for content in schedules.picture(rows, METRIC).values()] == [b"\x89PNG"] * drawn


def test_only_members_of_the_sweep_count(make_row: Callable[..., Row]) -> None:
    rows = [make_row(), make_row("c9", lineage=[segment(1, 1.0)])]
    assert schedules.members(POINTS, rows) == []
    assert (schedules.table([]), schedules.picture([], METRIC), schedules.lines([], METRIC)) == ({}, {}, [])
