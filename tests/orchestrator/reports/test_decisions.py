from __future__ import annotations

import csv
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from orchestrator.planning.cells import Point
from orchestrator.reports.decisions import published_sheet, race_sheet
from orchestrator.reports.summary import CellSummary, Measure
from orchestrator.sweepfile.replicates import Published

METRIC = Measure("test.accuracy")
POINTS = [Point({"method.p": p}, f"c{p}") for p in (0, 0.5, 0.7, 0.9, 1)]


def cells() -> dict[str, CellSummary]:
    values: list[dict[int, float]] = [
        {0: 0.900, 1: 0.901, 2: 0.902}, {0: 0.95, 1: 0.951}, {0: 0.9}, {}, {0: 0.9, 1: 0.901, 2: 0.902},
    ]  # fmt: skip
    found = {p.cell: CellSummary(p.cell, max(2, len(v)), v) for p, v in zip(POINTS, values, strict=True)}
    found["c1"].failures["error"] += 1
    return found


def published() -> list[Published]:
    return [
        Published(at=dict(point.labels), value=0.9, margin=0.01, source=f"Table {i}")
        for i, point in enumerate(POINTS)
    ]


def test_published_beside_measured() -> None:
    sheet = published_sheet(POINTS, [p.cell for p in POINTS], published(), cells(), METRIC)
    words = [line.shown[6] for line in sheet.lines]
    assert words == ["reproduced", "higher", "no verdict with one seed", "not run", "failed"]
    at, value, measured, difference, interval, margin, _, source = sheet.lines[1].shown
    assert (at, value, measured, difference) == ("method.p = 0.5", "90.00", "95.05 ± 0.07 (2)", "+5.05")
    assert (margin, source) == ("1.00", "Table 1")
    assert interval == "+4.73 to +5.37"
    assert [line.mark for line in sheet.lines] == ["good", "bad", "open", "open", "bad"]
    lines = list(csv.DictReader(StringIO(sheet.csv())))
    assert [line["verdict"] for line in lines] == ["reproduced", "higher", "", "not run", "failed"]
    assert float(lines[1]["difference"]) == pytest.approx(0.0505)
    assert lines[2]["low"] == lines[3]["mean"] == ""


def test_the_terminal_shows_the_whole_table() -> None:
    sheet = published_sheet(POINTS, [p.cell for p in POINTS], published(), cells(), METRIC)
    out = StringIO()
    Console(file=out, width=160).print(sheet.table())
    assert "reproduced" in out.getvalue()
    assert "+4.73 to +5.37" in out.getvalue()


def test_the_race_has_the_leader_first() -> None:
    values: dict[str, Any] = {
        "a": {0: 0.9, 1: 0.92},
        "b": {0: 0.90, 1: 0.93},
        "c": {0: 0.1, 1: 0.12},
        "d": {},
    }
    points = [Point({"x": name}, name) for name in values]
    found = {name: CellSummary(name, 2, v) for name, v in values.items()}
    sheet = race_sheet(points, values, found, METRIC)
    assert [line.shown[0] for line in sheet.lines] == ["x = b", "x = a", "x = c", "x = d"]
    assert [line.shown[-1] for line in sheet.lines] == [
        "in the race, leads",
        "in the race",
        "beaten",
        "not run",
    ]
    assert sheet.lines[2].shown[2] == "-80.50"
    assert [line["n"] for line in csv.DictReader(StringIO(sheet.csv()))] == ["2", "2", "2", "0"]


def test_a_loss_is_shown_as_it_is() -> None:
    loss = Measure("val.loss", "min")
    values: dict[str, Any] = {"a": {0: 0.5, 1: 0.51}, "b": {0: 0.9, 1: 0.911}}
    found = {name: CellSummary(name, 2, v) for name, v in values.items()}
    sheet = race_sheet([Point({"x": n}, n) for n in values], values, found, loss)
    assert [line.shown[-1] for line in sheet.lines] == ["best", "beaten"]
    assert sheet.lines[1].shown[2] == "+0.4005"
