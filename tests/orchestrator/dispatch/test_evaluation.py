"""What runs where a trial is evaluated: the row that it leaves, and what can go wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.report import Event, Signal
from orchestrator.dispatch.evaluation import run_evaluation
from orchestrator.dispatch.worker import run_job
from orchestrator.planning.job import Job, Outcome, Surroundings
from orchestrator.planning.plan import plan
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.ledger import Evaluations, Ledger
from orchestrator.records.store import Store
from tests.orchestrator.sweeps import PLUGINS, probing


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}")


def around(store: Store) -> Surroundings:
    source = (PLUGINS / "probing.py").read_bytes()
    return Surroundings(store.location, "probed", plugins=(("probing.py", source),), git_commit="abc")


def quietly(event: Event) -> Signal:
    return "continue"


def evaluate(store: Store, train: bool = True, **settings: Any) -> tuple[Job, Outcome, EvaluationRow]:
    sweep = probing({"name": "probing", "label": "P", **settings}, axes={})
    planned = plan(sweep, Ledger(store))
    (trial,), (job,) = planned.jobs, planned.evaluated.jobs
    if train:
        run_job(trial, around(store), quietly)
    outcome = run_evaluation(job, around(store))
    (row,) = Ledger(store).evaluations.read([job.key])
    return job, outcome, row


def test_row_of_an_evaluation(store: Store) -> None:
    job, outcome, row = evaluate(store, checkpoint="last")
    (trial,) = Ledger(store).read([job.parent or ""])
    assert (row.status, row.key, row.trial, row.cell) == ("completed", job.key, trial.key, trial.cell)
    assert row.metrics["accuracy"] == pytest.approx(trial.last["test.accuracy"]), "these weights, these data"
    assert row.metrics["loss"] == pytest.approx(trial.last["test.loss"])
    assert outcome.best == {f"P.{name}": value for name, value in row.metrics.items()}
    assert row.tables == {"classes": [{"class": c, "name": str(c)} for c in range(3)]}
    assert row.correct["clean"] == trial.correct["last"]
    bits = np.unpackbits(np.frombuffer(row.correct["clean"], np.uint8))[: row.examples]
    assert bits.mean() == pytest.approx(row.metrics["accuracy"])
    assert (row.name, row.label, row.checkpoint, row.sweep) == ("probing", "P", "last", "probed")
    assert row.settings["steps"] == 1
    assert "label" not in row.settings
    assert row.canonical["trial"] == trial.key
    assert (row.git_commit, row.data_hash, row.contract) == ("abc", trial.data_hash, trial.contract)
    assert {"python", "torch"} <= set(row.versions)
    assert row.seconds > 0
    assert store.names(f"checkpoints/{job.key}") == [], "what it kept while it ran is thrown away"
    log = (store.get(f"logs/{job.key}.log") or b"").decode()
    assert f"P of trial {trial.key[:12]}" in log
    assert "accuracy 0." in log


def test_a_row_survives_parquet(store: Store) -> None:
    row = evaluate(store)[2]
    assert Evaluations.from_parquet(Evaluations.to_parquet(row)) == row


@pytest.mark.parametrize(
    ("act", "failure", "message"),
    [("raise", "error", "the attack broke"), ("memory", "out of memory", "no memory left")],
)
def test_a_failure_is_recorded_and_leaves_the_trial_alone(
    store: Store, act: str, failure: str, message: str
) -> None:
    job, outcome, row = evaluate(store, act=act)
    assert (outcome.status, outcome.failure, outcome.message) == ("failed", failure, message)
    assert (row.status, row.failure, row.metrics) == ("failed", failure, {})
    assert "Traceback" in row.error
    assert Ledger(store).index() == {job.parent: "completed"}
    assert "Traceback" in (store.get(f"logs/{job.key}.log") or b"").decode()


def test_missing_weights_are_a_data_failure(store: Store) -> None:
    _, outcome, _ = evaluate(store, train=False)
    assert (outcome.status, outcome.failure) == ("failed", "data")
    assert "perturb run --retrain" in outcome.message


def test_what_a_long_evaluation_keeps_stays_after_a_failure(store: Store) -> None:
    job, _, _ = evaluate(store)
    from orchestrator.dispatch.checkpoints import Checkpoints

    own = Checkpoints(store, job.key)
    with own as folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "half.txt").write_text("half")
        own.put_back()
    assert store.names(f"checkpoints/{job.key}") == ["half.txt"]
    with Checkpoints(store, job.key) as folder:
        assert (folder / "half.txt").read_text() == "half"


def test_another_plugin_than_the_drivers_is_refused(store: Store, tmp_path: Path) -> None:
    planned = plan(probing(axes={}), Ledger(store))
    source = (PLUGINS / "probing.py").read_bytes() + b"\n# changed\n"
    changed = Surroundings(store.location, "probed", plugins=(("probing.py", source),))
    outcome = run_evaluation(planned.evaluated.jobs[0], changed)
    assert outcome.failure == "data"
    assert "the driver's code" in outcome.message
