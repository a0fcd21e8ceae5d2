"""Drivers beside each other and after each other: shared trials, dead drivers, replaced ones."""

from __future__ import annotations

import functools
import json
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator import api, driver
from orchestrator.dispatch.progress import Progress
from orchestrator.dispatch.worker import run_job
from orchestrator.driver import run
from orchestrator.options import Options
from orchestrator.planning.job import Outcome, Surroundings
from orchestrator.planning.search import Search
from orchestrator.planning.shared import Shared
from orchestrator.records.claims import Claims
from orchestrator.records.lease import Holder, Lease
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from tests.orchestrator.sweeps import PLUGINS, TRIAL, probing, sweep_of
from tests.orchestrator.test_cli import perturb, start


def sweep_file(folder: Path, name: str, **blocks: Any) -> str:
    """A sweep file of the small trial (YAML takes JSON); returns its name."""
    (folder / f"{name}.yaml").write_text(json.dumps({"name": name, "trial": TRIAL} | blocks))
    return f"{name}.yaml"


def starts(store: Path) -> dict[str, int]:
    """How often each trial was begun, by its log."""
    return {
        path.stem: path.read_text().count(f"  trial {path.stem[:12]}")
        for path in (store / "logs").glob("*.log")
    }


@pytest.mark.slow
@pytest.mark.parametrize("dispatcher", ["--local", "--cpus=1"])
def test_two_sweeps_that_share_cells_train_each_once(tmp_path: Path, dispatcher: str) -> None:
    for name, epsilons in (("one", [1, 2, 3, 4]), ("two", [4, 3, 2, 5])):
        axes = {"method.epsilon": epsilons, "method.p": [0, 0.5, 1]}
        sweep_file(tmp_path, name, axes=axes, reports=[{"grid": ["method.epsilon", "method.p"]}])
    words = ["--no-track", dispatcher]
    with (
        start(tmp_path, ["run", "one.yaml", *words]) as one,
        start(tmp_path, ["run", "two.yaml", *words]) as two,
    ):
        told = [process.communicate(timeout=250) for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), told
    for name, (out, _) in zip(("one", "two"), told, strict=True):
        assert "9/9 trials done" in out
        progress = json.loads((tmp_path / f"results/sweeps/{name}/progress.json").read_text())
        assert (progress["state"], progress["done"]) == ("done", 9)
        assert (tmp_path / f"results/sweeps/{name}/report/report.html").is_file()
    assert len(starts(tmp_path / "results")) == 11
    assert set(starts(tmp_path / "results").values()) == {1}
    for left in ("claims", "drivers"):
        assert list((tmp_path / f"results/{left}").iterdir()) == []


@pytest.mark.slow
def test_a_killed_driver_is_taken_over_at_once(tmp_path: Path) -> None:
    shutil.copy(PLUGINS / "breaking.py", tmp_path)
    killing = {"name": "breaking", "act": "kill once", "marker": str(tmp_path / "marker")}
    trial = TRIAL | {"method": "standard", "model": {"name": "breaking"}}
    points = {"good": {}, "bad": {"model": killing}}
    file = sweep_file(tmp_path, "small", trial=trial, points=points, plugins=["breaking.py"])
    words = ["run", file, "--local", "--no-track"]
    with start(tmp_path, words) as first:
        first.communicate(timeout=60)
    assert first.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "results/claims").iterdir())) == 1
    (status,) = api.status(store=str(tmp_path / "results"))
    assert status["state"] == "interrupted"

    second = perturb(tmp_path, *words)
    assert second.returncode == 0, second.stderr
    assert f"took over from process {first.pid} on" in second.stdout
    assert sorted(starts(tmp_path / "results").values()) == [1, 2]
    for left in ("claims", "drivers"):
        assert list((tmp_path / f"results/{left}").iterdir()) == []


def test_a_driver_whose_sweep_was_taken_over_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, begin = Store(tmp_path), Progress.started
    other = Holder("other", "node-9", 7, sweep="small")
    monkeypatch.setattr(driver, "Lease", functools.partial(Lease, every=0.01))

    def started(self: Progress, job: Any) -> None:
        begin(self, job)
        store.put("sweeps/small/driver.json", other.json())

    monkeypatch.setattr(Progress, "started", started)
    ended = run(sweep_of(trial=TRIAL | {"epochs": 5000}), Options(str(tmp_path), local=True, track=False))
    assert ended.exit_code == 75
    assert ended.stopped == "taken over by process 7 on node-9"
    assert ended.counts["done"] == 0
    assert store.get("sweeps/small/driver.json") == other.json()
    assert not store.exists("sweeps/small/stop"), "the other driver's trials go on"
    assert store.names("drivers") == []
    assert store.names("claims") == []


BESIDE = {
    "trials": (sweep_of(), sweep_of(name="other", axes={"method.epsilon": [1, 5], "method.p": [0.5]})),
    "evaluations": (probing(), probing(name="other", axes={"method.epsilon": [5]})),
}


@pytest.mark.parametrize("kind", BESIDE)
def test_what_another_driver_finishes_meanwhile_is_counted_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """While a sweep trains its first trial, another one runs all that is left of it."""
    sweep, other = BESIDE[kind]
    begin, options = Progress.started, Options(str(tmp_path), local=True, track=False)

    def started(self: Progress, job: Any) -> None:
        begin(self, job)
        monkeypatch.setattr(Progress, "started", begin)
        assert run(other, options).exit_code == 0

    monkeypatch.setattr(Progress, "started", started)
    ended = run(sweep, options)
    assert ended.exit_code == 0
    assert ended.counts["todo"] == 0
    progress = json.loads((tmp_path / f"sweeps/{sweep.name}/progress.json").read_text())
    assert progress["done"] == ended.counts["trials"]
    assert progress["evaluations"].get("done", 0) == ended.evaluations.get("evaluations", 0)
    counts = starts(tmp_path)
    assert {counts[key] for key in Ledger(Store(tmp_path)).index()} == {1}


def test_a_search_hears_of_a_seed_that_another_trained(tmp_path: Path) -> None:
    method = {"name": "dropattack", "targets": ["input"], "epsilon": 1.0}
    search = {"search": {"method.p": {"choice": [0.5]}}, "seeds": [0, 1], "budget": {"trials": 2}}
    trial = TRIAL | {"method": method}
    store, heard = Store(tmp_path), list[Outcome]()
    sweep = sweep_of(trial=trial, axes={}, reports=[], **search)
    with Lease(store, "small") as lease:
        inner = Search(sweep, Ledger(store))
        feed = Shared(
            inner, Claims(lease), Ledger(store), elsewhere=lambda job, outcome: heard.append(outcome)
        )
        job = feed.next()
        assert job is not None
        other = sweep_of(
            name="other", trial=trial, axes={"method.p": [0.5]}, seeds=[1 - job.seed], reports=[]
        )
        assert run(other, Options(str(tmp_path), local=True, track=False)).exit_code == 0
        mine = run_job(job, Surroundings(str(tmp_path), "small"), lambda event: "continue")
        feed.done(job, mine)
        assert feed.next() is None
        assert feed.exhausted
    ((cell, value),) = inner.values.items()
    assert cell == job.cell
    assert value is not None
    mean = sum(one.best["val.accuracy"] for one in (mine, *heard)) / 2
    assert value.means == pytest.approx((mean,))


@pytest.mark.slow
def test_tune_asks_again_while_another_driver_has_the_last_trial(tmp_path: Path, ray_session: None) -> None:
    """Nothing runs and nothing is given for a while: the sweep goes on when the other driver lets go."""
    store, sweep = Store(tmp_path), sweep_of(axes={}, reports=[])
    (job,) = api.plan(sweep, str(tmp_path)).jobs
    with Lease(store, "other") as lease:
        claims = Claims(lease)
        claims.take(job.key)
        release = threading.Timer(3.0, claims.close)
        release.start()
        ended = run(sweep, Options(str(tmp_path), track=False))
        release.join()
    assert (ended.exit_code, ended.counts["done"]) == (0, 1)
