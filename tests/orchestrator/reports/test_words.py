from __future__ import annotations

from collections import Counter

import pytest

from orchestrator.reports.summary import CellSummary, Measure
from orchestrator.reports.words import in_line, lines_of, slug

ACCURACY = Measure("val.accuracy")

CASES = [
    (CellSummary("c", 2, {0: 0.9, 1: 0.92}), ["91.00", "± 1.41"], "91.00 ± 1.41 (2)"),
    (CellSummary("c", 1, {0: 0.9}), ["90.00"], "90.00 (1)"),
    (CellSummary("c", 2, {0: 0.9}), ["90.00", "1/2"], "90.00 (1/2)"),
    (
        CellSummary("c", 2, {0: 0.9}, Counter(diverged=1)),
        ["90.00", "1/2 diverged"],
        "90.00 (1/2, diverged)",
    ),
    (CellSummary("c", 2, {}, Counter(diverged=2)), ["diverged"], "diverged"),
    (CellSummary("c", 2), ["not run"], "not run"),
    (None, [], ""),
]


@pytest.mark.parametrize(("cell", "lines", "line"), CASES)
def test_a_cell_in_lines_and_in_one(cell: CellSummary | None, lines: list[str], line: str) -> None:
    assert lines_of(cell, ACCURACY) == lines
    assert in_line(cell, ACCURACY) == line


def test_a_loss_is_no_per_cent() -> None:
    assert in_line(CellSummary("c", 1, {0: 0.123456}), Measure("val.loss")) == "0.1235 (1)"


def test_slug_is_a_file_name() -> None:
    assert slug("../a b/ü: method.p") == "a-b-method.p"
