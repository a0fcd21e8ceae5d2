from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import InputError
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.row import Row
from orchestrator.reports.summary import Measure, check_comparable, chosen_rows, summarise

ACCURACY = Measure("val.accuracy")
Make = Callable[..., Row]


def test_mean_sd_and_interval_by_hand(make_row: Make) -> None:
    rows = [make_row(seed=seed, value=value) for seed, value in enumerate((0.90, 0.92, 0.97))]
    found = summarise(["c0"], rows, ACCURACY, range(3))["c0"]
    assert found.mean == pytest.approx(0.93)
    assert found.sd == pytest.approx(math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))
    half = 4.302652729911275 * found.sd / math.sqrt(3)  # t(0.975, 2) from a table
    assert found.interval == pytest.approx((0.93 - half, 0.93 + half))
    assert found.extremes == (0.90, 0.97)
    assert found.complete


def test_one_value_has_no_spread(make_row: Make) -> None:
    found = summarise(["c0"], [make_row()], ACCURACY, [0])["c0"]
    assert math.isnan(found.sd)
    assert all(map(math.isnan, found.interval))
    assert found.extremes == (0.9, 0.9)


def test_a_partial_cell_is_visible(make_row: Make) -> None:
    rows = [make_row(seed=0), make_row(seed=1, status="failed", failure="out of memory")]
    found = summarise(["c0"], rows, ACCURACY, range(3))["c0"]
    assert (found.n, found.planned, found.missing) == (1, 3, 1)
    assert found.failures == Counter({"out of memory": 1})
    assert not found.complete


def test_a_cell_without_rows_is_there_and_empty() -> None:
    found = summarise(["c0"], [], ACCURACY, [0, 1])["c0"]
    assert (found.n, found.missing, found.mark) == (0, 2, "")
    assert math.isnan(found.mean)


def test_marks_tell_the_classes(make_row: Make) -> None:
    rows = [
        make_row(seed=0, status="diverged"),
        make_row(seed=1, status="failed", failure="error"),
        make_row(seed=2, status="pruned"),
        make_row(seed=3, best={}),
        make_row(seed=4, value=math.nan),
    ]
    found = summarise(["c0"], rows, ACCURACY, range(5))["c0"]
    assert found.failures == Counter({"no value": 2, "diverged": 1, "error": 1, "pruned": 1})
    assert found.n == 0


@pytest.mark.parametrize(
    ("failures", "values", "mark"),
    [
        ({"diverged": 2}, {}, "diverged"),
        ({"diverged": 1}, {0: 0.5}, "diverged"),
        ({"diverged": 2}, {0: 0.5}, "2 diverged"),
        ({"error": 2, "diverged": 1}, {}, "2 error, 1 diverged"),
    ],
)
def test_mark_is_short_where_it_is_plain(
    failures: dict[str, int], values: dict[int, float], mark: str, make_row: Make
) -> None:
    kinds = [kind for kind, count in failures.items() for _ in range(count)]
    rows = [make_row(seed=seed, value=value) for seed, value in values.items()]
    for seed, kind in enumerate(kinds, len(values)):
        failed = {"status": "failed", "failure": kind} if kind != "diverged" else {"status": "diverged"}
        rows.append(make_row(seed=seed, **failed))
    assert summarise(["c0"], rows, ACCURACY, range(9))["c0"].mark == mark


def test_the_checkpoint_decides_the_value(make_row: Make) -> None:
    row = make_row(best={"val.accuracy": 0.9}, last={"val.accuracy": 0.8})
    last = summarise(["c0"], [row], Measure("val.accuracy", "max", "last"), [0])["c0"]
    assert last.mean == 0.8


def test_other_seeds_and_cells_are_passed_over(make_row: Make) -> None:
    rows = [make_row(seed=7, value=0.1), make_row("other", value=0.2), make_row(seed=0, value=0.9)]
    found = summarise(["c0"], rows, ACCURACY, [0, 1])
    assert list(found) == ["c0"]
    assert found["c0"].values == {0: 0.9}


def test_a_completed_row_is_taken_before_a_failed_one(make_row: Make) -> None:
    failed = make_row(status="failed", failure="error", finished="2026-02-01T00:00:00+00:00")
    earlier = make_row(value=0.8, finished="2026-01-01T00:00:00+00:00")
    later = make_row(value=0.9, finished="2026-01-02T00:00:00+00:00")
    for rows in ([failed, earlier, later], [later, earlier, failed]):
        assert chosen_rows(["c0"], rows, [0]) == [later]


def test_two_contracts_are_refused(make_row: Make) -> None:
    rows = [make_row(seed=0), make_row(seed=1, contract=2)]
    with pytest.raises(InputError, match=r"^contract: 1 of trial c0-0, 2 of trial c0-1 is not legal"):
        summarise(["c0"], rows, ACCURACY, [0, 1])


def test_data_that_changed_are_refused(make_row: Make) -> None:
    rows = [make_row("a"), make_row("b", data_hash="other")]
    with pytest.raises(InputError, match="data_hash"):
        check_comparable(rows)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"contract": 2}, "contract: 1 of trial c0-0, 2 of clean of trial c0-0 is not legal"),
        (
            {"data_hash": "other"},
            "data_hash: d1d1d1d1d1d1 of trial c0-0, other of clean of trial c0-0 is not",
        ),
    ],
)
def test_evaluations_by_another_contract_or_on_other_data_are_refused(
    make_row: Make, changes: dict[str, Any], said: str
) -> None:
    about: dict[str, Any] = {"contract": 1, "data_hash": "d1" * 32} | changes
    one = EvaluationRow("e", "c0-0", "c0", 0, "best", "clean", "clean", "completed", **about)
    metric = Measure("clean.accuracy")
    with pytest.raises(InputError) as raised:
        summarise(["c0"], [make_row(evaluations={"clean": one})], metric, [0])
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)


def test_data_that_are_an_axis_may_differ(make_row: Make) -> None:
    small = make_row("a", canonical={"data": {"name": "imdb", "train_size": 100}}, data_hash="s")
    large = make_row("b", canonical={"data": {"name": "imdb", "train_size": 500}}, data_hash="l")
    check_comparable([small, large])


def test_rows_of_other_sweeps_do_not_disturb(make_row: Make) -> None:
    rows = [make_row("c0"), make_row("other", contract=9)]
    assert summarise(["c0"], rows, ACCURACY, [0])["c0"].n == 1
