from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engine.errors import InputError
from orchestrator.records import export as exporting
from orchestrator.records.compaction import compact
from orchestrator.records.export import export, flat
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store

Make = Callable[..., Row]


@pytest.fixture
def ledger(tmp_path: Path, make_row: Make) -> Ledger:
    found = Ledger(Store(tmp_path / "store"))
    for i in range(5):
        epsilon = {"input": i + 1, "weight": 0.5 if i == 4 else i + 1}
        trial = {
            "data": {"name": "digits"},
            "method": {"epsilon": epsilon, "targets": ["input"]},
            "mixup": i or None,
        }
        found.write(make_row(f"c{i}", trial=trial, status="failed" if i == 3 else "completed"))
    compact(found)
    found.write(make_row("d", trial={"mixup": "much"}))
    return found


@pytest.fixture(params=[1, 2, 1000])
def _at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "AT_ONCE", request.param)


@pytest.mark.usefixtures("_at_once")
def test_a_line_for_each_trial(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    assert export(ledger, path, [*ledger.index(), "unknown"]) == 6
    lines = {line["cell"]: line for line in pq.read_table(path).to_pylist()}
    assert lines["c1"]["trial.method.epsilon"] == lines["c1"]["trial.method.epsilon.input"] == 2
    assert lines["c4"]["trial.method.epsilon"] is None, "apart, and no one value"
    assert lines["c4"]["trial.method.epsilon.weight"] == 0.5
    assert lines["c0"]["trial.method.targets"] == '["input"]'
    assert lines["c0"]["best.val.accuracy"] == 0.9
    assert lines["c3"]["best.val.accuracy"] is None
    assert lines["c3"]["status"] == "failed"
    assert lines["d"]["trial.mixup"] == "much"
    assert lines["c2"]["trial.mixup"] == "2", "a column of two types is text"
    assert lines["d"]["trial.data.name"] is None
    assert lines["c0"]["versions.torch"] == "2.15.0"
    assert lines["c0"]["timings.total"] == 2.5


@pytest.mark.usefixtures("_at_once")
def test_csv_says_the_same(ledger: Ledger, tmp_path: Path) -> None:
    keys = list(ledger.index())
    for name in ("a.csv", "a.parquet"):
        export(ledger, tmp_path / name, keys)
    with (tmp_path / "a.csv").open() as file:
        lines = list(csv.DictReader(file))
    for line, other in zip(lines, pq.read_table(tmp_path / "a.parquet").to_pylist(), strict=True):
        assert list(line) == list(other)
        assert {n: v for n, v in other.items() if isinstance(v, (int, float))} == {
            n: float(line[n]) for n, v in other.items() if isinstance(v, (int, float))
        }
        assert line["key"] == other["key"]


@pytest.mark.usefixtures("_at_once")
def test_a_line_for_each_epoch(ledger: Ledger, tmp_path: Path) -> None:
    assert export(ledger, tmp_path / "h.csv", ["c0-0", "c1-0"], history=True) == 6
    with (tmp_path / "h.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["cell"], line["epoch"]) for line in lines] == [
        (f"c{i}", str(e)) for i in (0, 1) for e in (1, 2, 3)
    ]
    assert [float(line["val.accuracy"]) for line in lines[:3]] == [0.88, 0.89, 0.9]


def test_evaluations_are_columns(make_row: Make) -> None:
    from tests.orchestrator.records.stores import real_evaluation

    row = make_row()
    assert flat(make_row(evaluations={"PGD-20": real_evaluation(row)}))["PGD-20.accuracy"] == 0.5


@pytest.mark.parametrize(
    ("name", "said"),
    [("a.txt", r"\.parquet or \.csv"), ("no/a.csv", "a folder that exists"), ("a", "ends in")],
)
def test_files_that_cannot_be(ledger: Ledger, tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        export(ledger, tmp_path / name, ledger.index())


def test_nothing_to_export_leaves_the_old_file(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(InputError, match="holds a trial to export"):
        export(ledger, path, ["unknown"])
    assert path.read_text() == "old"
