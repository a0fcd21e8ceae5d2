"""Sweeps with evaluations, in process: what a run leaves, what later runs add, what cannot be evaluated."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pandas
import pytest
from rich.console import Console

import orchestrator
from engine.errors import InputError
from orchestrator.driver import evaluate, run
from orchestrator.options import Ended, Options
from orchestrator.planning.plan import plan
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep
from orchestrator.views import ending
from tests.orchestrator.sweeps import PLUGINS, TRIAL, probing, sweep_of

TWO: dict[str, Any] = {"name": "probing", "steps": 2, "at": 0.5, "label": "two"}


def here(store: Path, **changes: Any) -> Options:
    return Options(str(store), local=True, **{"track": False, **changes})


def files(store: Path) -> dict[str, int]:
    """Rows of the ledger and when each was written."""
    return {str(p.relative_to(store)): p.stat().st_mtime_ns for p in (store / "ledger").rglob("*.parquet")}


def shown(sweep: Sweep, options: Options) -> tuple[Ended, str]:
    out = StringIO()
    ended = run(sweep, options, Console(file=out, width=140))
    return ended, out.getvalue()


def test_trials_and_evaluations_then_nothing(tmp_path: Path) -> None:
    ended, text = shown(probing("probing", TWO, seeds=2), here(tmp_path))
    assert ended.exit_code == 0
    assert ended.counts["done"] == 4
    assert ended.evaluations == {"evaluations": 8, "done": 8, "failed": 0, "todo": 0, "impossible": 0}
    assert "8/8 evaluations" in text
    assert "accuracy, %, by evaluation" in (tmp_path / "sweeps/probed/report/report.html").read_text()
    progress = json.loads((tmp_path / "sweeps/probed/progress.json").read_text())
    assert progress["evaluations"] == {"evaluations": 8, "done": 8, "failed": 0, "impossible": 0}
    before = files(tmp_path)
    assert len(before) == 12
    assert run(probing("probing", TWO, seeds=2), here(tmp_path)) == ended
    assert evaluate(probing("probing", TWO, seeds=2), here(tmp_path)).exit_code == 0
    assert files(tmp_path) == before


def test_adding_one_runs_only_that_and_renaming_runs_nothing(tmp_path: Path) -> None:
    run(probing(keep="best"), here(tmp_path))
    before = files(tmp_path)
    ended = evaluate(probing("probing", TWO), here(tmp_path))
    assert (ended.exit_code, ended.evaluations["done"]) == (0, 4)
    after = files(tmp_path)
    assert len(after) == len(before) + 2
    assert before.items() <= after.items()
    renamed = probing({"name": "probing", "label": "clean"}, TWO | {"label": "other"})
    assert run(renamed, here(tmp_path)).exit_code == 0
    assert files(tmp_path) == after
    frame = orchestrator.evaluations(renamed, str(tmp_path))
    assert sorted(frame["label"]) == ["clean", "clean", "other", "other"]


def test_a_failing_evaluation_leaves_the_trials_and_is_run_again(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    bad = {"name": "probing", "label": "bad", "act": "raise", "marker": str(marker)}
    sweep = probing("probing", bad, axes={})
    ended, text = shown(sweep, here(tmp_path / "store"))
    assert ended.exit_code == 1
    assert ended.failures == {"error": 1}
    assert ended.evaluations == {"evaluations": 2, "done": 1, "failed": 1, "todo": 1, "impossible": 0}
    assert list(Ledger(Store(tmp_path / "store")).index().values()) == ["completed"]
    assert "(1 failed)" in text
    page = (tmp_path / "store/sweeps/probed/report/report.html").read_text()
    assert "bad: error" in page
    assert "the attack broke" in page
    assert "why: perturb logs" in "".join(_last_lines(ended))
    assert evaluate(sweep, here(tmp_path / "store")).exit_code == 0, "the marker is there now"


def _last_lines(ended: Ended) -> list[str]:
    return list(ending(["run", "s.yaml"], ended, ""))


def test_weights_that_were_not_kept(tmp_path: Path) -> None:
    plain = probing(evaluations=[])
    run(plain, here(tmp_path))
    assert not (tmp_path / "checkpoints").exists()
    before = files(tmp_path)
    ended, text = shown(probing(), here(tmp_path))
    assert ended.exit_code == 1
    assert "probing: impossible for 2 trials, which kept no best weights" in text
    assert "perturb run SWEEP --retrain" in text
    assert files(tmp_path) == before, "nothing is trained or evaluated in silence"
    ended = run(probing(), here(tmp_path, retrain=True))
    assert (ended.exit_code, ended.evaluations["done"]) == (0, 2)
    assert len(files(tmp_path)) == len(before) + 2


def test_evaluate_trains_nothing(tmp_path: Path) -> None:
    run(probing(evaluations=[], keep="best", axes={"method.epsilon": [1]}), here(tmp_path))
    ended = evaluate(probing(), here(tmp_path))
    assert ended.counts["todo"] == 1, "the second cell is not trained"
    assert ended.evaluations == {"evaluations": 2, "done": 1, "failed": 0, "todo": 1, "impossible": 0}
    assert ended.exit_code == 1
    assert "evaluations of trials that are not done wait for perturb run" in _last_lines(ended)
    with pytest.raises(
        InputError, match=r"evaluations: nothing is not legal: evaluations: \[\{name: \.\.\.\}\]"
    ):
        evaluate(probing(evaluations=[]), here(tmp_path))


def test_a_diverged_trial_has_nothing_to_evaluate(tmp_path: Path) -> None:
    points = {"good": {}, "bad": {"model": {"name": "breaking", "act": "nan"}}}
    trial = TRIAL | {"model": {"name": "breaking"}, "method": "standard"}
    sweep = probing(points=points, trial=trial, axes={}, plugins=["probing.py", "breaking.py"])
    ended = run(sweep, here(tmp_path))
    assert ended.exit_code == 0
    assert ended.evaluations == {"evaluations": 1, "done": 1, "failed": 0, "todo": 0, "impossible": 0}


def test_the_budget_of_trials_leaves_no_trial_unevaluated(tmp_path: Path) -> None:
    ended = run(probing(budget={"trials": 1}), here(tmp_path))
    assert (ended.counts["done"], ended.evaluations["done"], ended.exit_code) == (1, 1, 75)
    ended = run(probing(budget={"trials": 1}), here(tmp_path))
    assert (ended.counts["done"], ended.evaluations["done"], ended.exit_code) == (2, 2, 0)


def test_a_grid_and_a_table_of_an_evaluation(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "axes": {"method.epsilon": [1, 5]},
        "metric": {"name": "two.accuracy"},
        "reports": [{"curve": "method.epsilon"}, {"curve": "method.epsilon", "metric": "two.accuracy@0.5"}],
    }
    store = Store(tmp_path)
    run(probing("probing", TWO, **settings), here(tmp_path))
    wider = probing("probing", TWO, seeds=2, **settings)
    ledger = Ledger(store)
    lacking = plan(wider, ledger)
    run(probing(evaluations=["probing"], seeds=2, keep="best"), here(tmp_path))
    (files_, tables) = orchestrator.report(wider, str(tmp_path))
    console = Console(width=140, record=True, file=StringIO())
    for table in tables:
        console.print(table)
    text = " ".join(console.export_text().split())
    assert "two.accuracy, %" in text
    assert "1/2" in text, "of two seeds one is evaluated so"
    assert "accuracy, %, by evaluation, best epoch on validation" in text
    names = {path.name for path in files_}
    assert {"curve_method.epsilon.png", "evaluations_accuracy.csv", "evaluations_two.accuracy.csv"} <= names
    csv = next(path for path in files_ if path.name == "evaluations_accuracy.csv").read_text()
    assert "probing.accuracy" in csv
    assert "two.accuracy" in csv
    assert lacking.evaluated.counts()["todo"] == 4
    progress = json.loads((tmp_path / "sweeps/probed/progress.json").read_text())
    assert progress["best"] is not None


def test_values_in_the_reports_are_those_of_the_rows(tmp_path: Path) -> None:
    sweep = probing("probing", TWO, seeds=2)
    run(sweep, here(tmp_path))
    frame = orchestrator.evaluations(sweep, str(tmp_path))
    assert list(frame.columns[:5]) == ["method.epsilon", "label", "evaluation", "checkpoint", "seed"]
    files_, _ = orchestrator.report(sweep, str(tmp_path))
    path = next(path for path in files_ if path.name == "evaluations_accuracy.csv")
    told = pandas.read_csv(path).set_index(["metric", "method.epsilon"])
    mine = frame.groupby(["label", "method.epsilon"])["accuracy"]
    for (label, epsilon), value in mine.mean().items():  # type: ignore[misc]
        assert told.loc[(f"{label}.accuracy", epsilon), "mean"] == pytest.approx(value)
    for (label, epsilon), value in mine.std().items():  # type: ignore[misc]
        assert told.loc[(f"{label}.accuracy", epsilon), "sd"] == pytest.approx(value)
    assert set(told["n"]) == {2}


def test_a_remote_store(tmp_path: Path) -> None:
    location = f"memory://{tmp_path.name}"
    ended = run(probing(), Options(location, local=True, track=False))
    assert (ended.exit_code, ended.evaluations["done"]) == (0, 2)


def test_a_search_by_an_evaluation(tmp_path: Path) -> None:
    sweep = probing(
        {"name": "probing", "split": "val"}, axes={}, metric={"name": "probing.accuracy"}, seeds=2,
        search={"method.epsilon": {"uniform": [0.1, 5]}}, budget={"trials": 6},
    )  # fmt: skip
    ended = run(sweep, here(tmp_path))
    assert ended.exit_code == 0
    assert (ended.counts["cells"], ended.counts["done"], ended.evaluations["done"]) == (3, 6, 6)
    before = files(tmp_path)
    assert run(sweep, here(tmp_path)).exit_code == 0
    assert files(tmp_path) == before


@pytest.mark.parametrize("act", [run, evaluate])
def test_an_evaluation_is_added_to_an_old_search(tmp_path: Path, act: Callable[..., Ended]) -> None:
    settings: dict[str, Any] = {
        "axes": {}, "keep": "best", "budget": {"trials": 2},
        "search": {"method.epsilon": {"uniform": [0.1, 5]}},
    }  # fmt: skip
    run(probing(evaluations=[], **settings), here(tmp_path))
    ended = act(probing(**settings), here(tmp_path))
    assert (ended.exit_code, ended.counts["done"], ended.evaluations["done"]) == (0, 2, 2)


def test_an_old_ledger_is_read(tmp_path: Path) -> None:
    """Rows written before there were evaluations, in the folder beside which theirs are."""
    run(sweep_of(), here(tmp_path))
    assert not (tmp_path / "ledger/evaluations").exists()
    assert plan(sweep_of(), Ledger(Store(tmp_path))).counts()["done"] == 3


def test_commands(tmp_path: Path) -> None:
    path = tmp_path / "probed.yaml"
    path.write_text(probing().text)
    shutil.copy(PLUGINS / "probing.py", tmp_path)

    def perturb(*words: str) -> subprocess.CompletedProcess[str]:
        root = str(Path(__file__).parents[2])
        environment = {**os.environ, "PYTHONPATH": root, "COLUMNS": "160", "PERTURB_STORE": "results"}
        return subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", *words],
            cwd=tmp_path, capture_output=True, text=True, timeout=200, env=environment, check=False,
        )  # fmt: skip

    planned = perturb("plan", "probed.yaml")
    assert "2 evaluations (probing): 0 done, 0 failed before, 2 to do\n" in planned.stdout
    assert "keep: best in place of none, for the evaluations need these weights" in planned.stdout
    ran = perturb("run", "probed.yaml", "--local", "--no-track")
    assert ran.returncode == 0, ran.stderr
    assert "2/2 evaluations done, 0 failed, 0 to do" in ran.stdout
    assert json.loads(perturb("plan", "probed.yaml", "--json").stdout)["evaluations"]["done"] == 2
    again = perturb("evaluate", "probed.yaml", "--local", "--no-track")
    assert again.returncode == 0, again.stderr
    assert "2/2" in perturb("status").stdout
    refused = perturb("evaluate", "probed.yaml", "--local", "--set", "evaluations=[]")
    assert refused.returncode == 2
    assert refused.stderr.startswith("evaluations: ")


def test_the_epoch_that_was_best_on_test(tmp_path: Path) -> None:
    trial = TRIAL | {"method": "fgm", "watch_test": True}
    on_test = {"name": "probing", "checkpoint": "best.test", "label": "B"}
    sweep = probing(on_test, trial=trial, axes={}, metric={"name": "B.accuracy"})
    assert run(sweep, here(tmp_path)).exit_code == 0
    (row,) = (ledger := Ledger(Store(tmp_path))).read(ledger.index())
    (found,) = ledger.evaluations.read(ledger.evaluations.index())
    assert found.metrics["accuracy"] == pytest.approx(max(epoch["test.accuracy"] for epoch in row.history))
    assert "best epoch on TEST" in (tmp_path / "sweeps/probed/report/report.html").read_text()
