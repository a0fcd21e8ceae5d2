from __future__ import annotations

from collections.abc import Callable

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports.facts import failures, progress, provenance, reason, settings

Make = Callable[..., Row]
CHAINED = """Traceback (most recent call last):
  File "a.py", line 1, in f
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "b.py", line 2, in g
ValueError: lr: -1 is not legal
  [type=greater_than]
"""


def test_progress_counts_every_planned_trial_once(make_row: Make) -> None:
    rows = [
        make_row(seed=0),
        make_row(seed=1, status="failed", failure="lost"),
        make_row("b", status="diverged"),
    ]
    assert progress(["c0", "b", "b"], rows, [0, 1]) == {
        "planned": 4,
        "completed": 1,
        "diverged": 1,
        "pruned": 0,
        "failed": 1,
        "not run": 1,
    }


def test_failures_tell_point_class_and_reason(make_row: Make) -> None:
    row = make_row(status="failed", failure="error", error=CHAINED)
    points = [Point({"p": 0, "e": 1}, "c0"), Point({"p": 0, "e": 2}, "c0")]
    (failure,) = failures(points, [make_row(seed=1), row])
    assert (failure.labels, failure.mark, failure.reason) == (
        "p = 0, e = 1",
        "error",
        "ValueError: lr: -1 is not legal",
    )


def test_reason_of_nothing_is_nothing() -> None:
    assert reason("") == ""


def test_provenance_counts_what_differs(make_row: Make) -> None:
    rows = [make_row(seed=s, device="cpu" if s else "H200", finished=f"2026-01-0{s + 1}") for s in (0, 1, 2)]
    found = provenance(rows)
    assert found["device"] == "cpu (2 trials), H200 (1 trials)"
    assert found["engine contract"] == "1"
    assert found["torch"] == "2.15.0"
    assert found["finished"] == "2026-01-01 to 2026-01-03"


def test_no_rows_have_no_provenance() -> None:
    assert provenance([]) == {}


def test_a_long_axis_is_cut() -> None:
    assert settings({"x": [str(i) for i in range(50)]})["x"].endswith("7, ..., 48, 49, (50 values)")
