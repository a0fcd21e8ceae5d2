"""Evaluations in the plan: keys, what is kept for them, what is done, to do and impossible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.config import Trial
from engine.identity import evaluation_key
from orchestrator.planning.evaluations import impossible
from orchestrator.planning.job import Job
from orchestrator.planning.plan import Plan, plan
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from tests.orchestrator.planning.searches import pruned_row_of
from tests.orchestrator.sweeps import TRIAL, probing

PGD: dict[str, Any] = {"name": "probing", "steps": 20, "label": "PGD-20", "checkpoint": "last"}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Store(tmp_path))


def trained(ledger: Ledger, job: Job, status: str = "completed", kept: tuple[str, ...] = ("best",)) -> None:
    ledger.write(Row(job.key, job.cell, job.seed, status, job.trial, {}))  # type: ignore[arg-type]
    for name in kept:
        ledger.store.put(f"checkpoints/{job.key}/{name}.pt", b"weights")


def looked_at(ledger: Ledger, job: Job, status: str = "completed") -> None:
    ledger.evaluations.write(
        EvaluationRow(
            job.key, job.parent or "", job.cell, job.seed, "best", "probing", job.label,
            status,  # type: ignore[arg-type]
        )
    )  # fmt: skip


def counted(planned: Plan) -> list[int]:
    """Evaluations: all, done, failed, to do, impossible."""
    return list(planned.evaluated.counts().values())


def test_jobs_follow_their_trials_and_have_the_engines_keys(ledger: Ledger) -> None:
    sweep = probing("probing", PGD, seeds=2)
    planned = plan(sweep, ledger)
    assert planned.counts()["trials"] == 4, "the budget and the counts of trials know no evaluations"
    jobs = planned.evaluated.jobs
    assert [(job.seed, job.label) for job in jobs] == [
        (s, n) for s in (0, 0, 1, 1) for n in ("probing", "PGD-20")
    ]
    assert {job.parent for job in jobs} == {job.key for job in planned.jobs}
    for job in jobs:
        config = sweep.asked[0 if job.label == "probing" else 1]
        assert job.key == evaluation_key(Trial.model_validate(job.trial), config)
        assert job.checkpoint == config.checkpoint
    assert counted(planned) == [8, 0, 0, 8, 0]
    assert plan(probing(evaluations=[]), ledger).evaluated.counts() == {}


@pytest.mark.parametrize(
    ("keep", "wanted", "kept"),
    [
        ("none", ["probing"], "best"),
        ("none", [PGD], "last"),
        ("none", ["probing", PGD], "both"),
        ("last", ["probing"], "both"),
        ("both", ["probing"], "both"),
        ("last", [], "last"),
        ("all", ["probing"], "all"),
        ("last", [{"name": "probing", "checkpoint": "best.test"}], "all"),
    ],
)
def test_trials_keep_what_evaluations_need(ledger: Ledger, keep: str, wanted: list[Any], kept: str) -> None:
    trial = TRIAL | {"method": "fgm", "watch_test": True}
    jobs = plan(probing(keep=keep, evaluations=wanted, trial=trial), ledger).jobs
    assert {job.keep for job in jobs} == {kept}


def test_a_parent_keeps_what_its_children_need_and_is_not_evaluated(ledger: Ledger) -> None:
    trial = TRIAL | {"method": "fgm", "init": {"from": {"method": "standard"}}}
    planned = plan(probing(PGD, trial=trial), ledger)
    assert [job.keep for job in planned.jobs] == ["best", "last", "last"]
    assert planned.jobs[0].key not in {job.parent for job in planned.evaluated.jobs}


def test_done_failed_to_do_and_impossible(ledger: Ledger) -> None:
    sweep = probing("probing", PGD, axes={"method.epsilon": [1, 2, 3, 4]})
    one, two, three, four = plan(sweep, ledger).jobs
    by_trial = {(job.parent, job.label): job for job in plan(sweep, ledger).evaluated.jobs}
    trained(ledger, one, kept=("best", "last"))
    looked_at(ledger, by_trial[one.key, "probing"])
    looked_at(ledger, by_trial[one.key, "PGD-20"], "failed")
    trained(ledger, two, kept=("best",))
    trained(ledger, three, "diverged", ())
    trained(ledger, four, "failed", ())
    planned = plan(sweep, ledger)
    assert counted(planned) == [6, 1, 1, 4, 1], "the diverged trial has nothing to evaluate"
    assert [job.key for job in planned.evaluated.impossible] == [by_trial[two.key, "PGD-20"].key]
    (line,) = impossible(planned.evaluated)
    assert line == (
        "PGD-20: impossible for 1 trial, which kept no last weights; "
        "train it again with: perturb run SWEEP --retrain"
    )
    assert two.key not in [job.key for job in planned.todo], "nothing is trained again in silence"
    again = plan(sweep, ledger, retrain=True)
    assert [job.key for job in again.todo] == [two.key, four.key]
    assert counted(again) == [6, 1, 1, 5, 0]


def test_a_pruned_trial_has_nothing_to_evaluate_under_its_own_rule(ledger: Ledger) -> None:
    sweep = probing("probing", axes={"method.epsilon": [1, 2]}, scheduler="asha")
    job = plan(sweep, ledger).jobs[0]
    ledger.write(pruned_row_of(job, sweep.rule, {"epoch": 1.0}))
    assert counted(plan(sweep, ledger)) == [1, 0, 0, 1, 0]
    other = probing("probing", axes={"method.epsilon": [1, 2]}, scheduler="median")
    assert counted(plan(other, ledger)) == [2, 0, 0, 2, 0], "it is run again"


def test_an_evaluation_that_is_done_needs_no_weights(ledger: Ledger) -> None:
    sweep = probing()
    planned = plan(sweep, ledger)
    for job in planned.jobs:
        trained(ledger, job, kept=())
    for job in planned.evaluated.jobs:
        looked_at(ledger, job)
    assert counted(plan(sweep, ledger)) == [2, 2, 0, 0, 0]
    assert plan(sweep, ledger, retrain=True).todo == []


def test_adding_one_and_renaming_one(ledger: Ledger) -> None:
    for job in plan(probing(), ledger).jobs:
        trained(ledger, job, kept=("best", "last"))
    for job in plan(probing(), ledger).evaluated.jobs:
        looked_at(ledger, job)
    more = plan(probing("probing", PGD), ledger).evaluated
    assert {job.label for job in more.todo} == {"PGD-20"}
    assert plan(probing({"name": "probing", "label": "clean"}), ledger).evaluated.todo == []


@pytest.mark.parametrize("status", ["diverged", "pruned"])
def test_trials_without_an_end_leave_nothing_to_look_at(ledger: Ledger, status: str) -> None:
    sweep = probing("probing", scheduler="asha")
    first, second = plan(sweep, ledger).jobs
    ledger.write(Row(first.key, first.cell, 0, status, first.trial, {}, rule=sweep.rule))  # type: ignore[arg-type]
    trained(ledger, second)
    planned = plan(sweep, ledger)
    assert planned.counts()["todo"] == 0
    assert [job.parent for job in planned.evaluated.todo] == [second.key]
    assert counted(planned) == [1, 0, 0, 1, 0]
