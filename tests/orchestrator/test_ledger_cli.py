"""``perturb ledger`` as users run it, in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.driver import run
from orchestrator.options import Options
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from tests.orchestrator.records.stores import flipped, page_of, real_evaluation, real_row
from tests.orchestrator.sweeps import sweep_of

Perturb = Callable[..., tuple[int, str, str]]


@pytest.fixture
def perturb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Perturb:
    monkeypatch.setenv("PERTURB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["perturb", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        return (int(code or 0), *capsys.readouterr())  # type: ignore[return-value]

    return call


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    found = Ledger(Store(tmp_path / "store"))
    found.write(real_row(0))
    found.write(real_row(1, status="failed", failure="out of memory", error="Traceback\n  boom"))
    found.evaluations.write(real_evaluation(real_row(0)))
    return found


def test_ls(perturb: Perturb, ledger: Ledger, tmp_path: Path) -> None:
    code, out, err = perturb("ledger", "ls")
    assert (code, err) == (0, "")
    head, failed, completed = out.splitlines()
    assert head.split()[:4] == ["key", "status", "seed", "method"]
    assert "best val.accuracy" in head
    assert failed.split()[0] == real_row(1).key[:12]
    assert "out of memory" in failed
    assert "0.9000" in completed
    code, out, _ = perturb("ledger", "ls", "--json", "--status", "completed")
    (line,) = json.loads(out)
    assert (line["key"], line["method"], line["data"]) == (real_row(0).key, "dropattack", "digits")
    assert len(json.loads(perturb("ledger", "ls", "--json", "--limit", "1")[1])) == 1
    assert perturb("ledger", "ls", "--status", "done")[2].startswith("status: 'done' is not legal: known: ")
    assert "holds no such trial" in perturb("ledger", "ls", "--store", str(tmp_path / "empty"))[1]


def test_show(perturb: Perturb, ledger: Ledger) -> None:
    code, out, _ = perturb("ledger", "show", real_row(0).key[:8])
    assert code == 0
    for text in (
        real_row(0).key,
        "method.epsilon",
        "val.accuracy",
        "evaluation clean",
        "accuracy: 0.5000",
        "total: 2.50 s",
    ):
        assert text in out
    assert "Traceback\n  boom" in perturb("ledger", "show", real_row(1).key)[1]
    shown = json.loads(perturb("ledger", "show", real_row(0).key, "--json")[1])
    assert shown["evaluations"]["clean"]["metrics"] == {"accuracy": 0.5}
    assert shown["canonical"] == real_row(0).canonical
    evaluation = real_evaluation(real_row(0)).key
    assert f"weights of trial {real_row(0).key}" in perturb("ledger", "show", evaluation)[1]
    code, out, err = perturb("ledger", "show", "")
    assert (code, out, len(err.splitlines())) == (2, "", 1)


def test_export_compact_verify(perturb: Perturb, ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    assert perturb("ledger", "export", str(path))[1] == f"2 trials in {path}\n"
    assert perturb("ledger", "export", str(tmp_path / "a.doc"))[::2] == (
        2, "file: a.doc is not legal: a name that ends in .parquet or .csv\n",
    )  # fmt: skip
    assert perturb("ledger", "compact")[1].startswith("3 rows taken up")
    code, out, _ = perturb("ledger", "verify")
    assert (code, out) == (0, "2 trials and 1 evaluations in 2 files are sound\n")
    ledger.store.put(f"ledger/trials/completed/{'0' * 64}.parquet", b"")
    code, out, _ = perturb("ledger", "verify", "--json")
    (damaged,) = json.loads(out)["damaged"]
    assert (code, damaged["problem"]) == (1, "it is empty")
    assert perturb("ledger", "verify")[0] == 0, "it is set aside"


def test_a_sweep_of_the_ledger(perturb: Perturb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged row is run again by the next run, which says so; sweeps choose their rows."""
    from orchestrator.records import compaction

    monkeypatch.setattr(compaction, "WAITING", 2)
    sweep = sweep_of()
    options = Options(str(tmp_path / "store"), local=True, track=False)
    run(sweep, options)
    ledger = Ledger(Store(tmp_path / "store"))
    assert not ledger.loose(), "compacted at the end"
    first = sorted(ledger.index())[0]
    before = {row.key: row for row in ledger.read(ledger.index())}
    ledger.write(real_row(5))
    (name,) = ledger.segments.names()
    content = ledger.store.get(f"ledger/trials/segments/{name}") or b""
    bad = flipped(content, page_of(content, 0, "best.key_value.value"))
    ledger.store.put(f"ledger/trials/segments/{name}", bad)

    assert run(sweep, options).counts["done"] == 3
    again = Ledger(Store(tmp_path / "store"))
    after = {row.key: row for row in again.read(again.index())}
    assert after[first].best == before[first].best
    assert not again.damaged
    assert again.store.names("ledger/damaged/trials/segments")

    file = tmp_path / "s.yaml"
    file.write_text(sweep.text)
    assert len(json.loads(perturb("ledger", "ls", "--json")[1])) == 4
    assert len(json.loads(perturb("ledger", "ls", "--json", "--sweep", str(file))[1])) == 3
    assert perturb("ledger", "export", str(tmp_path / "a.csv"), "--sweep", str(file))[1].startswith(
        "3 trials"
    )


def test_a_report_of_two_contracts_is_one_line(perturb: Perturb, tmp_path: Path) -> None:
    from dataclasses import replace

    sweep = sweep_of(seeds=2)
    run(sweep, Options(str(tmp_path / "store"), local=True, track=False))
    ledger = Ledger(Store(tmp_path / "store"))
    row = ledger.read(ledger.index())[0]
    ledger.store.put(
        f"ledger/trials/completed/{row.key}.parquet", Ledger.to_parquet(replace(row, contract=9))
    )
    file = tmp_path / "s.yaml"
    file.write_text(sweep.text)
    code, _, err = perturb("report", str(file))
    assert code == 2
    assert err.startswith("contract: ")
    assert len(err.splitlines()) == 1
