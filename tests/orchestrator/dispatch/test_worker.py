from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.passes import Passes
from engine.report import Event, Signal
from orchestrator.dispatch.worker import Reporter, run_job
from orchestrator.planning.job import Job, Outcome, Surroundings, cancel_flag, stop_flag
from orchestrator.planning.plan import plan
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep
from tests.orchestrator.sweeps import PLUGINS, TRIAL, breaking, sweep_of


def around(store: Store) -> Surroundings:
    source = (PLUGINS / "breaking.py").read_bytes()
    return Surroundings(store.location, "s", plugins=(("breaking.py", source),), git_commit="abc")


def quietly(event: Event) -> Signal:
    return "continue"


def run_last(sweep: Sweep, store: Store) -> tuple[Job, Outcome, Row]:
    job = plan(sweep, Ledger(store)).jobs[-1]
    outcome = run_job(job, around(store), quietly)
    (row,) = Ledger(store).read([job.key])
    return job, outcome, row


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}")


def test_parts_of_a_batch_leave_the_trial_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, logits = [], Passes.logits
    monkeypatch.setattr(Passes, "logits", lambda *a, **k: seen.append(len(a[1])) or logits(*a, **k))
    results = {}
    for micro in (0, 4):
        seen.clear()
        sweep = sweep_of(resources={"cpus": 1, "micro": micro})
        held = Store(tmp_path / str(micro))
        job = plan(sweep, Ledger(held)).jobs[-1]
        outcome = run_job(job, replace(around(held), micro=sweep.resources.micro), quietly)
        results[job.key, micro] = outcome.last["test.loss"]
        assert (max(seen) <= 4) == (micro == 4)
    assert len({key for key, _ in results}) == 1, "no part of the key"
    first, second = results.values()
    assert first == pytest.approx(second, rel=1e-5)


def test_row_of_a_completed_trial(store: Store) -> None:
    job, outcome, row = run_last(sweep_of(), store)
    assert outcome.status == row.status == "completed"
    assert outcome.best == row.best
    assert row.key == job.key
    assert [epoch["epoch"] for epoch in row.history] == [1, 2]
    assert row.trial["method"]["epsilon"] == {"input": 5, "weight": 5}
    assert row.canonical["method"]["weight"]["targets"] == ["conv1.weight"]
    bits = np.unpackbits(np.frombuffer(row.correct["best"], np.uint8))[: row.examples]
    assert bits.mean() == pytest.approx(row.best["test.accuracy"])
    assert {"data", "build", "train", "evaluate", "total"} <= set(row.timings)
    assert row.git_commit == "abc"
    assert {"python", "torch", "pyarrow"} <= set(row.versions)
    assert len(row.data_hash) == 64
    assert row.contract == 1
    assert row.device.startswith("cpu")
    assert store.names("checkpoints") == []
    assert "method.p=0.5  seed 0" in (store.get(f"logs/{job.key}.log") or b"").decode()


@pytest.mark.parametrize(
    ("act", "failure", "message"),
    [("raise", "error", "the model broke"), ("memory", "out of memory", "no memory left")],
)
def test_an_exception_becomes_a_failed_row(store: Store, act: str, failure: str, message: str) -> None:
    job, outcome, row = run_last(breaking(act), store)
    assert (outcome.status, outcome.failure, outcome.message) == ("failed", failure, message)
    assert (row.status, row.failure) == ("failed", failure)
    assert "Traceback" in row.error
    assert message in row.error
    assert "Traceback" in (store.get(f"logs/{job.key}.log") or b"").decode()


def test_the_log_is_there_while_the_trial_runs(store: Store) -> None:
    job = plan(sweep_of(), Ledger(store)).jobs[-1]
    seen: list[bytes] = []

    def look(event: Event) -> Signal:
        seen.append(store.get(f"logs/{job.key}.log") or b"")
        return "continue"

    run_job(job, around(store), look)
    assert job.key[:12] in seen[0].decode()


def test_divergence_is_a_result(store: Store) -> None:
    _, outcome, row = run_last(breaking("nan"), store)
    assert outcome.status == row.status == "diverged"
    assert row.failure is None
    assert "not finite in epoch" in row.error
    assert np.isnan(row.history[-1]["val.loss"])


@pytest.mark.parametrize("keep", ["best", "last"])
def test_keep(store: Store, keep: str) -> None:
    job, _, _ = run_last(sweep_of(keep=keep), store)
    assert store.names(f"checkpoints/{job.key}") == [f"{keep}.pt"]


def test_a_stopped_trial_continues_to_the_same_result(store: Store, tmp_path: Path) -> None:
    job = plan(sweep_of(), Ledger(store)).jobs[-1]
    seen: list[Event] = []

    def stop_at_third(event: Event) -> Signal:
        seen.append(event)
        return "stop" if len(seen) == 3 else "continue"

    outcome = run_job(job, around(store), stop_at_third)
    assert outcome.status == "stopped"
    assert Ledger(store).index() == {}
    assert store.names(f"checkpoints/{job.key}") == ["resume.pt"]
    seen.clear()

    def from_here(event: Event) -> Signal:
        seen.append(event)
        return "continue"

    run_job(job, around(store), from_here)
    assert (seen[0].epoch, seen[0].step) == (1, 1), "not from the start"
    (resumed,) = Ledger(store).read([job.key])
    other = Store(tmp_path / "other")
    run_job(job, around(other), quietly)
    (whole,) = Ledger(other).read([job.key])
    assert resumed.history == whole.history
    assert resumed.correct == whole.correct


def test_a_child_starts_from_its_parent(store: Store) -> None:
    trial = TRIAL | {"init": {"from": {"method": "standard", "epochs": 20}}}
    sweep = sweep_of(trial=trial, axes={"method.epsilon": [1]}, reports=[])
    parent, child = plan(sweep, Ledger(store)).jobs
    for job in (parent, child):
        assert run_job(job, around(store), quietly).status == "completed"
    rows = Ledger(store).read([parent.key, child.key])
    fresh = TRIAL | {"method": {"name": "dropattack", "targets": ["input", "conv1.w"], "epsilon": 1}}
    alone = plan(sweep_of(trial=fresh, axes={}, reports=[]), Ledger(store)).jobs[0]
    run_job(alone, around(store), quietly)
    (row,) = Ledger(store).read([alone.key])
    assert rows[1].history[0]["train.loss"] < row.history[0]["train.loss"]
    assert rows[1].canonical["init"]["key"] == parent.key


def test_missing_parent_weights_are_a_data_failure(store: Store) -> None:
    trial = TRIAL | {"init": {"from": {"method": "standard"}}}
    sweep = sweep_of(trial=trial, axes={"method.epsilon": [1]}, reports=[])
    _, outcome, _ = run_last(sweep, store)
    assert (outcome.status, outcome.failure) == ("failed", "data")
    assert "train the parent first" in outcome.message


def test_the_reporter_heeds_the_stop_flag(store: Store) -> None:
    told: list[int] = []
    reporter = Reporter(around(store), lambda epoch, metrics: told.append(epoch))
    assert reporter(Event(1, 0, {"val.accuracy": 0.5})) == "continue"
    assert told == [1]
    store.put(stop_flag("s"), b"")
    reporter.looked = 0.0
    assert reporter(Event(1, 1)) == "stop"


def test_the_reporter_heeds_the_request_to_cancel_its_trial(store: Store) -> None:
    job, other = plan(sweep_of(), Ledger(store)).jobs[:2]
    store.put(cancel_flag("s", job.key), b"")
    here = around(store)
    found = [run_job(one, here, Reporter(here, lambda *told: None, one.key)) for one in (job, other)]
    assert (found[0].status, found[0].failure) == ("failed", "cancelled")
    assert found[0].message == "cancelled on request"
    assert Ledger(store).index() == {job.key: "failed", other.key: "completed"}
