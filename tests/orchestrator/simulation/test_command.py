"""``perturb simulate`` and its call in Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator import api, cli
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from tests.orchestrator.conftest import build_row
from tests.orchestrator.sweeps import TRIAL, sweep_of


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PERTURB_STORE", raising=False)
    path = tmp_path / "small.yaml"
    axes = {"method.epsilon": [1, 5], "method.p": [0, 0.5]}
    path.write_text(json.dumps({"name": "small", "trial": TRIAL, "axes": axes}))
    return path


def perturb(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["perturb", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_words_and_json(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert perturb(monkeypatch, "simulate", str(file), "--slots", "2", "--minutes", "10") == 0
    text = capsys.readouterr().out
    assert "small: 3 trials on 2 simulated slots: 3 completed" in text
    assert "takes 20:00, and 20:00 without any delay; the slots are busy 75 % of it" in text
    assert "best val.accuracy" in text
    assert "curves: 3 made up" in text
    assert perturb(monkeypatch, "simulate", str(file), "--slots", "2", "--minutes", "10", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["version"], told["seconds"], told["statuses"]["completed"]) == (1, 1200.0, 3)
    called = api.simulate(sweep_of(reports=[]), 2, minutes=10).json()
    for name in ("seconds", "statuses", "best", "curves", "utilisation", "attempts"):
        assert told[name] == called[name]
    assert [path.name for path in file.parent.iterdir()] == ["small.yaml"], "no store is written"


def test_bad_ends_are_told(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("simulate", str(file), "--slots", "1", "--errors", "1", "--set", "failures.same_error=0")
    assert perturb(monkeypatch, *words) == 0
    text = capsys.readouterr().out
    assert "3 failed" in text
    assert "failures: 3 error" in text
    assert perturb(monkeypatch, "simulate", str(file), "--slots", "1", "--lost", "1") == 0
    text = capsys.readouterr().out
    assert "failures: 3 lost" in text
    assert "9 attempts were started" in text


def test_a_store_is_replayed_and_left_alone(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = file.parent / "store"
    (first, *_) = api.plan(sweep_of()).jobs
    row = build_row(first.cell, 0, 0.9, 2, key=first.key, timings={"total": 600.0})
    Ledger(Store(store)).write(row)
    before = sorted(store.rglob("*"))
    found = api.simulate(sweep_of(), 1, minutes=1, like=str(store))
    assert found.curves == {"key": 1, "made up": 2}
    assert found.seconds == pytest.approx(600 + 2 * 60)
    assert sorted(store.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--slots", "0"), "slots: 0 is not legal: a whole number >= 1"),
        (("--slots", "2", "--minutes", "-1"), "minutes: -1.0 is not legal: a number > 0"),
        (("--slots", "2", "--lost", "2"), "lost: 2.0 is not legal: a probability, 0 to 1"),
        (("--slots", "2", "--like", "nowhere"), "like: nowhere is not legal: a store with trials"),
        (("--slots", "2", "--set", "trial.epochs=0"), "trial.epochs"),
    ],
)
def test_bad_input_is_one_line(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...], error: str,
) -> None:  # fmt: skip
    assert perturb(monkeypatch, "simulate", str(file), *words) == 2
    told = capsys.readouterr().err
    assert error in told
    assert len(told.strip().splitlines()) == 1
    assert [path.name for path in file.parent.iterdir()] == ["small.yaml"]
