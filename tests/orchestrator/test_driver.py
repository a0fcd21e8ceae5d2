"""The driver, in process: what a run leaves, what a second run does, what bad input leaves alone."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from engine.errors import InputError
from orchestrator import api
from orchestrator.cli import main
from orchestrator.dispatch import evaluation
from orchestrator.dispatch.evaluation import run_evaluation
from orchestrator.driver import run
from orchestrator.options import Options
from orchestrator.planning.job import Job, Outcome, Surroundings, cancel_flag
from orchestrator.planning.plan import plan
from orchestrator.records.claims import SweepHeld, SweepLock
from orchestrator.records.lease import Lease
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from tests.orchestrator.sweeps import TRIAL, breaking, probing, scripted, sweep_of
from tests.orchestrator.test_cli import perturb


def local(store: Path | str, track: bool = False) -> Options:
    return Options(str(store), local=True, track=track)


def test_a_run_and_a_second_run(tmp_path: Path) -> None:
    out = StringIO()
    ended = run(sweep_of(), local(tmp_path), Console(file=out, width=120))
    assert ended.exit_code == 0
    assert ended.counts["done"] == 3
    text = out.getvalue()
    assert "3/3 trials" in text
    assert "best val.accuracy" in text
    assert "epsilon" in text, "the grid is shown"
    folder = tmp_path / "sweeps/small"
    assert (folder / "report/report.html").is_file()
    progress = json.loads((folder / "progress.json").read_text())
    assert (progress["state"], progress["done"], progress["best"]["seeds"]) == ("done", 3, 1)
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "ledger").rglob("*.parquet")}
    assert len(files) == 3

    again = run(sweep_of(), local(tmp_path))
    assert again.counts == ended.counts
    assert json.loads((folder / "progress.json").read_text())["best"] == progress["best"], "it is recalled"
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "ledger").rglob("*.parquet")} == files


def test_the_sweep_is_kept_as_it_was_run(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: kept  # a comment\ntrial:\n  data: {name: digits, train_size: 32}\n"
                    "  model: lenet5_8x8\n  method: standard\n  epochs: 5\n")  # fmt: skip
    run(api.load(path, ["trial.epochs=1"]), local(tmp_path / "store"))
    (copy,) = (tmp_path / "store/sweeps/kept/runs").iterdir()
    assert api.load(copy).trial["epochs"] == 1


@pytest.mark.parametrize(
    ("act", "status", "code"), [("raise", "failed", 1), ("nan", "diverged", 0), ("memory", "failed", 1)]
)
def test_a_bad_trial_does_not_stop_the_others(tmp_path: Path, act: str, status: str, code: int) -> None:
    ended = run(breaking(act), local(tmp_path))
    assert ended.exit_code == code
    assert sorted(Ledger(Store(tmp_path)).index().values()) == sorted(["completed", status])
    assert act == "nan" or sum(ended.failures.values()) == 1


def test_one_trial_is_cancelled_and_the_next_run_starts_it(tmp_path: Path) -> None:
    there, store = tmp_path / "there", Store(tmp_path / "results")
    sweep = scripted(["report:0.9"], [f"log:{there}", f"once:{there}2", "sleep:100", "report:0.8"])
    ended, sleeps = (job.key for job in plan(sweep, Ledger(store)).jobs)
    told: list[subprocess.CompletedProcess[str]] = []

    def cancel() -> None:
        while not there.exists():
            time.sleep(0.05)
        told.extend(perturb(tmp_path, "cancel", "scripted", key) for key in (ended, sleeps[:12]))

    sender = threading.Thread(target=cancel)
    sender.start()
    found = run(sweep, local(store.location))
    sender.join()
    assert found.failures == {"cancelled": 1}
    row = Ledger(store).one(sleeps)
    assert row is not None
    assert (row.status, row.failure) == ("failed", "cancelled")
    assert not store.names(cancel_flag("scripted", "")), "heard"
    refused, heard = told
    assert refused.returncode == 2, "the first one has ended"
    assert "the key of a trial that scripted runs now" in refused.stderr
    assert heard.returncode == 0, heard.stderr
    assert heard.stdout == f"asked for the end of trial {sleeps[:12]}\n"
    store.put(cancel_flag("scripted", sleeps), b"")  # as of a driver that died before it heard
    assert run(sweep, local(store.location)).counts["done"] == 2


def test_without_ray_an_evaluation_is_not_cancelled_and_that_is_told(tmp_path: Path) -> None:
    store, out = Store(tmp_path), StringIO()
    sweep = probing()
    jobs = plan(sweep, Ledger(store)).evaluated.jobs

    def evaluate(job: Job, around: Surroundings) -> Outcome:
        if job.key == jobs[0].key:
            api.cancel(sweep.name, job.key, store.location)
        return run_evaluation(job, around)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "run_evaluation", evaluate)
        store.put(f"logs/{jobs[0].key}.log", b"")
        ended = run(sweep, local(tmp_path), Console(file=out, width=200))
    assert ended.evaluations["done"] == 2
    assert out.getvalue().count(f"evaluation {jobs[0].key[:12]} was not cancelled") == 1
    assert not store.names(cancel_flag(sweep.name, ""))


def test_failed_trials_are_run_again(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for _ in range(2):
        ended = run(breaking("raise", model={"marker": str(marker)}), local(tmp_path / "store"))
        assert ended.counts["failed"] == 1
        assert ended.counts["done"] == 1


def test_a_budget_ends_the_run_and_the_next_continues(tmp_path: Path) -> None:
    ended = run(sweep_of(budget={"trials": 2}), local(tmp_path))
    assert ended.counts["done"] == 2
    assert ended.exit_code == 75
    assert "budget of trials" in ended.stopped
    assert run(sweep_of(budget={"trials": 2}), local(tmp_path)).exit_code == 0


def test_nothing_is_written_for_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURB_DATA", str(tmp_path / "empty"))
    monkeypatch.setenv("PERTURB_CACHE", str(tmp_path / "cache"))
    trial = TRIAL | {"data": "mnist", "model": "lenet5"}
    with pytest.raises(InputError, match=r"mnist.*not on this machine"):
        run(sweep_of(trial=trial), local(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_a_held_sweep_is_refused(tmp_path: Path) -> None:
    with Lease(Store(tmp_path), "small") as lease, SweepLock(lease), pytest.raises(SweepHeld):
        run(sweep_of(), local(tmp_path))


def test_a_remote_store(tmp_path: Path) -> None:
    location = f"memory://{tmp_path.name}"
    assert run(sweep_of(), local(location)).exit_code == 0
    store = Store(location)
    assert len(Ledger(store).index()) == 3
    assert "report.html" in store.names("sweeps/small/report")


def test_stop_request_drains_and_run_continues(tmp_path: Path) -> None:
    sweep = sweep_of(trial=TRIAL | {"epochs": 200})
    store = Store(tmp_path)

    from orchestrator.dispatch.progress import Progress

    begin = Progress.started

    def started(self: Progress, job: object) -> None:
        begin(self, job)  # type: ignore[arg-type]
        store.put("sweeps/small/stop", b"")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "started", started)
        ended = run(sweep, local(tmp_path))
    assert ended.exit_code == 75
    assert ended.counts["done"] == 0
    assert len(store.names("checkpoints")) >= 1
    ended = run(sweep_of(trial=TRIAL | {"epochs": 200}, axes={}, reports=[]), local(tmp_path))
    assert ended.exit_code == 0


def test_file_command_and_api_give_the_same_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two worlds agree: a YAML file in Python, the command in this process, and plain values."""
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps({
        "name": "small", "trial": TRIAL, "axes": {"method.epsilon": [1, 5], "method.p": [0, 0.5]},
        "reports": [{"grid": ["method.epsilon", "method.p"]}],
    }))  # fmt: skip

    def perturb(*words: str) -> list[dict[str, object]]:
        """Objects that the command prints, a line each."""
        monkeypatch.setattr("sys.argv", ["perturb", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return [json.loads(text) for text in capsys.readouterr().out.splitlines()]

    command = ("--store", str(tmp_path / "command"), "--json")
    (told,) = perturb("plan", str(path), *command)
    plans = [api.plan(sweep, str(tmp_path / "none")) for sweep in (api.load(path), sweep_of())]
    assert plans[0].jobs == plans[1].jobs
    counts = plans[0].counts()
    assert {name: told[name] for name in counts} == counts
    keys = {job.key for job in plans[0].jobs}

    events = perturb("run", str(path), "--local", "--no-track", *command)
    run(api.load(path), local(tmp_path / "file"))
    run(sweep_of(), local(tmp_path / "values"))
    assert {event["key"] for event in events if event["event"] == "trial_finished"} == keys
    rows = []
    for name in ("command", "file", "values"):
        ledger = Ledger(Store(tmp_path / name))
        assert set(ledger.index()) == keys
        found = ledger.read(sorted(ledger.index()))
        rows.append([replace(row, timings={}, finished="", git_commit="") for row in found])
    assert rows[0] == rows[1] == rows[2]
    (told,) = perturb("plan", str(path), *command)
    after = api.plan(sweep_of(), str(tmp_path / "values")).counts()
    assert {name: told[name] for name in after} == after
    assert (told["done"], told["todo"]) == (len(keys), 0)
