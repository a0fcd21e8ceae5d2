from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import optuna
import pytest

from engine.errors import InputError
from orchestrator.planning.job import Job, Outcome
from orchestrator.planning.results import Result
from orchestrator.planning.samplers import fitted
from orchestrator.planning.search import Search
from orchestrator.planning.study import Study
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep
from tests.orchestrator.planning.searches import (
    BOTH,
    NUMBERS,
    finish,
    prune,
    pruned_row_of,
    row_of,
    score,
    searching,
    storm,
)

SQLITE = {"storage": "sqlite:///optuna.db"}
STORAGES = [{"storage": "memory"}, SQLITE, {"storage": "study.log"}]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Store(tmp_path))


def states(study: Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


def test_a_trial_carries_its_seeds(ledger: Ledger) -> None:
    search = Search(searching(2, seeds=2), ledger)
    for value in (0.25, 0.75):
        job = search.next()
        assert job is not None
        finish(search, job, metrics={"val.accuracy": value})
    (trial,) = search.study.trials
    assert trial.value == 0.5
    assert trial.user_attrs == {
        "cell": job.cell, "n": 2, "sd": pytest.approx(0.125**0.5), "values": {"0": 0.25, "1": 0.75},
    }  # fmt: skip


def test_a_trial_carries_its_seeds_by_objective(ledger: Ledger) -> None:
    search = Search(searching(1, objectives=BOTH), ledger)
    job = search.next()
    assert job is not None
    finish(search, job, metrics={"val.accuracy": 0.5, "val.loss": 2.0})
    (trial,) = search.study.trials
    assert trial.values == [0.5, 2.0]
    assert trial.user_attrs["values"] == {"val.accuracy": {"0": 0.5}, "val.loss": {"0": 2.0}}
    assert trial.user_attrs["sd"] == {"val.accuracy": None, "val.loss": None}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("sampler", ["tpe", SQLITE], ids=["memory", "sqlite"])
def test_no_value_leaves_a_trial_running(ledger: Ledger, sampler: Any, value: float) -> None:
    search = Search(searching(2, objectives=BOTH, seeds=2, sampler=sampler), ledger)
    for _ in range(2):
        job = search.next()
        assert job is not None
        finish(search, job, metrics={"val.accuracy": 0.5, "val.loss": value})
    assert states(search.study) == ["FAIL"]
    assert search.study.trials[0].user_attrs["values"]["val.loss"] == {"0": None, "1": None}


@pytest.mark.parametrize(
    ("status", "state"),
    [("failed", "FAIL"), ("diverged", "FAIL"), ("pruned", "PRUNED"), ("stopped", "RUNNING")],
)
def test_what_is_no_result(ledger: Ledger, status: Any, state: str) -> None:
    search = Search(searching(1), ledger)
    job = search.next()
    assert job is not None
    search.done(job, Outcome(job.key, status, best={"val.accuracy": 0.9}))
    assert states(search.study) == [state]


def test_a_dead_drivers_trials_are_settled(ledger: Ledger) -> None:
    sweep = searching(3, sampler=SQLITE, try_first=[{"method.p": 0.5}, {"method.p": 0.6}])
    search = Search(sweep, ledger)
    first, second = search.next(), search.next()
    assert first is not None
    assert second is not None
    ledger.write(row_of(first, score(first.labels)))  # ended, and the driver did not hear of it
    search.study.propose()  # asked, and killed before its cell was written down
    again = Search(sweep, ledger)
    assert states(again.study) == ["COMPLETE", "RUNNING", "FAIL"]
    assert again.study.trials[0].user_attrs["cell"] == first.cell
    taken = again.next()
    assert taken is not None
    assert taken.key == second.key
    finish(again, taken, ledger)
    assert states(again.study) == ["COMPLETE", "COMPLETE", "FAIL"]


def test_finished_trials_are_not_told_twice(ledger: Ledger) -> None:
    sweep = searching(5, sampler=SQLITE)
    storm(Search(sweep, ledger), ledger, flight=2)
    for _ in range(2):
        assert states(Search(sweep, ledger).study) == ["COMPLETE"] * 5


def half_pruned(sweep: Sweep, ledger: Ledger) -> list[Job]:
    """Every job of a sweep, of which each second one is pruned."""
    search, jobs = Search(sweep, ledger), list[Job]()
    while (job := search.next()) is not None:
        jobs.append(job)
        if len(jobs) % 2:
            finish(search, job, ledger)
        else:
            prune(search, job, ledger, reached=len(jobs) / 10)
    return jobs


@pytest.mark.parametrize("sampler", STORAGES, ids=["memory", "sqlite", "journal"])
def test_pruned_trials_are_not_told_twice(ledger: Ledger, sampler: Any) -> None:
    sweep = searching(6, sampler=sampler, scheduler="asha")
    jobs = half_pruned(sweep, ledger)
    wanted = {job.cell: {1: i / 10} for i, job in enumerate(jobs, 1) if i % 2 == 0}
    for _ in range(3):
        again = Search(sweep, ledger)
        assert again.next() is None
        assert sorted(states(again.study)) == ["COMPLETE"] * 3 + ["PRUNED"] * 3
        pruned = [trial for trial in again.study.trials if trial.state.name == "PRUNED"]
        assert {trial.user_attrs["cell"]: trial.intermediate_values for trial in pruned} == wanted
        assert all(trial.value == trial.intermediate_values[1] for trial in pruned), "as Optuna's own"


def test_a_pruned_cell_of_another_sweep_is_told_and_never_proposed(ledger: Ledger) -> None:
    space = {"method.epsilon": {"choice": [1, 2, 3, 4]}}
    first = half_pruned(searching(2, search=space, scheduler="asha"), ledger)
    again = Search(searching(2, search=space, scheduler="asha", name="other"), ledger)
    assert sorted(states(again.study)) == ["COMPLETE", "PRUNED"]
    jobs = storm(again, ledger, flight=1)
    assert len(jobs) == 2
    assert not {job.cell for job in jobs} & {job.cell for job in first}


@pytest.mark.parametrize("sampler", STORAGES, ids=["memory", "sqlite", "journal"])
def test_what_another_rule_pruned_is_run_again_and_told_once(ledger: Ledger, sampler: Any) -> None:
    jobs = half_pruned(searching(6, sampler=sampler, scheduler="asha"), ledger)
    sweep = searching(6, sampler=sampler, scheduler="median")
    search = Search(sweep, ledger)
    assert sorted(states(search.study)) == ["COMPLETE"] * 3 + ["RUNNING"] * 3
    ran = [job for _ in range(3) if (job := search.next()) is not None]
    assert {job.key for job in ran} == {job.key for job in jobs[1::2]}
    prune(search, ran[0], ledger)
    for job in ran[1:]:
        finish(search, job, ledger)
    for _ in range(2):
        assert sorted(states(Search(sweep, ledger).study)) == ["COMPLETE"] * 5 + ["PRUNED"]


def test_a_pruned_trial_of_which_a_dead_driver_did_not_hear_is_told(ledger: Ledger) -> None:
    sweep = searching(1, sampler=SQLITE, scheduler="asha")
    job = Search(sweep, ledger).next()
    assert job is not None
    ledger.write(pruned_row_of(job, sweep.rule, {"epoch": 2.0, "val.accuracy": 0.5}))
    for _ in range(2):
        (trial,) = Search(sweep, ledger).study.trials
        assert (trial.state.name, trial.intermediate_values) == ("PRUNED", {2: 0.5})


def test_a_cell_that_is_part_pruned_waits_for_its_other_seeds(ledger: Ledger) -> None:
    sweep = searching(2, seeds=2, sampler=SQLITE, scheduler="asha")
    search = Search(sweep, ledger)
    one, two = search.next(), search.next()
    assert one is not None
    assert two is not None
    prune(search, one, ledger)
    again = Search(sweep, ledger)
    assert states(again.study) == ["RUNNING"]
    left = again.next()
    assert left is not None
    assert left.key == two.key
    finish(again, left, ledger)
    for _ in range(2):
        after = Search(sweep, ledger)
        assert (states(after.study), after.next()) == (["PRUNED"], None)


def test_a_pruned_cell_is_settled_where_an_evaluation_is_the_objective(ledger: Ledger) -> None:
    clean = {"evaluations": [{"name": "clean", "split": "val"}], "metric": {"name": "clean.accuracy"}}
    asha = {"name": "asha", "metric": "val.accuracy"}
    sweep = searching(1, sampler=SQLITE, scheduler=asha, **clean)
    search = Search(sweep, ledger)
    job = search.next()
    assert job is not None
    prune(search, job, ledger)
    for _ in range(3):
        again = Search(sweep, ledger)
        assert (states(again.study), again.exhausted, again.note) == (["PRUNED"], True, "")


def test_a_study_that_contradicts_the_ledger_is_made_anew(ledger: Ledger) -> None:
    sweep = searching(4, sampler=SQLITE)
    storm(Search(sweep, ledger), ledger, flight=1)
    gone = ledger.read(ledger.index())[0]
    ledger.store.remove(f"ledger/trials/completed/{gone.key}.parquet")
    again = Search(sweep, ledger)
    assert sorted(states(again.study)) == ["COMPLETE"] * 3 + ["RUNNING"]
    values = {trial.user_attrs["cell"]: trial.value for trial in again.study.trials}
    assert values[gone.cell] is None


def test_a_study_of_another_store_is_refused(tmp_path: Path) -> None:
    sampler = {"storage": f"sqlite:///{tmp_path}/shared.db"}
    Search(searching(2, sampler=sampler), Ledger(Store(tmp_path / "a")))
    with pytest.raises(InputError, match=r"sampler.storage: .* no other study 'small'; one of .*/a is there"):
        Search(searching(2, sampler=sampler), Ledger(Store(tmp_path / "b")))
    optuna.create_study(study_name="mine", storage=sampler["storage"]).add_trial(
        optuna.trial.create_trial(value=1.0)
    )
    with pytest.raises(InputError, match="nobody known"):
        Search(searching(2, name="mine", sampler=sampler), Ledger(Store(tmp_path / "a")))


def test_other_objectives_are_refused(ledger: Ledger) -> None:
    Search(searching(2, sampler=SQLITE), ledger)
    with pytest.raises(InputError, match="objectives: maximize, minimize is not legal: maximize as before"):
        Search(searching(2, sampler=SQLITE, objectives=BOTH), ledger)


@pytest.mark.parametrize("storage", ["sqlite:///optuna.db", "journal:///a.journal", "study.log"])
def test_a_file_beside_a_remote_store_is_refused(storage: str) -> None:
    sweep = searching(2, sampler={"storage": storage})
    with pytest.raises(InputError, match=r"sampler.storage: .* this store is remote"):
        Search(sweep, Ledger(Store("memory://remote-study")))


def test_a_database_that_does_not_answer_is_one_line(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_text("no database, and long enough to look like a header of one")
    with pytest.raises(InputError, match=r"sampler.storage: .* a database that answers"):
        Search(searching(2, sampler=SQLITE), ledger)


def test_half_a_line_at_the_end_of_a_journal(ledger: Ledger, tmp_path: Path) -> None:
    sweep = searching(4, sampler={"storage": "study.log"})
    storm(Search(sweep, ledger), ledger, flight=2, at_most=3)
    with (tmp_path / "study.log").open("ab") as file:
        file.write(b'{"op_code":5,"worker')
    storm(Search(sweep, ledger), ledger, flight=2)
    assert states(Search(sweep, ledger).study) == ["COMPLETE"] * 4
    for line in (tmp_path / "study.log").read_text().splitlines():
        json.loads(line)


def test_choices_that_are_no_scalars(ledger: Ledger) -> None:
    space = {"method": {"choice": ["standard", {"name": "fgm", "epsilon": 0.5}]}}
    sweep = searching(2, search=space, sampler={"name": "random", **SQLITE})
    labels = [job.labels["method"] for job in storm(Search(sweep, ledger), ledger, flight=1)]
    assert {str(one) for one in labels} == {"standard", "{'name': 'fgm', 'epsilon': 0.5}"}
    assert states(Search(sweep, ledger).study).count("RUNNING") == 0


def test_nsga2_breeds_from_what_the_ledger_holds(ledger: Ledger) -> None:
    """With mutation off, a setting of a child is one of the parents'."""
    storm(Search(searching(12, search=NUMBERS, sampler="random"), ledger), ledger, flight=4)
    known = {row.trial["method"]["p"]["input"] for row in ledger.read(ledger.index())}
    sampler = {"name": "nsga2", "population": 4, "mutation": 0.0}
    again = Search(searching(20, search=NUMBERS, sampler=sampler, objectives=BOTH), ledger)
    job = again.next()
    assert job is not None
    assert job.labels["method.p"] in known


def test_cmaes_starts_from_the_best_of_what_is_known() -> None:
    ledger = Ledger(Store("memory://cmaes"))
    space = {"epochs": {"int": [1, 100]}, "batch_size": {"int": [1, 100]}}

    def value(labels: Any) -> dict[str, float]:
        return {"val.accuracy": -abs(labels["epochs"] - 90) - abs(labels["batch_size"] - 90)}

    search = Search(searching(100, search=space, sampler="qmc"), ledger)
    while (job := search.next()) is not None:
        finish(search, job, ledger, value(job.labels))
    again = Search(searching(120, search=space, sampler="cmaes"), ledger)
    jobs = [job for _ in range(20) if (job := again.next()) is not None]
    distance = sum(-value(job.labels)["val.accuracy"] for job in jobs) / len(jobs)
    assert distance < 50, "the middle of the space is 80 away, a random point 80 on average"


def test_means_and_spreads() -> None:
    result = Result({0: (1.0, 2.0), 1: (3.0, 2.0)})
    assert result.means == (2.0, 2.0)
    assert result.spreads == (pytest.approx(2**0.5), 0.0)
    assert Result({0: (1.0, math.nan)}).means is None
    assert Result().means is None


def test_a_gaussian_process_is_fitted_to_the_best_and_the_latest() -> None:
    values = [(float((7 * i) % 20), float(i % 3)) for i in range(20)]
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.add_trials(optuna.trial.create_trial(values=list(pair)) for pair in values)
    trials = study.get_trials()
    assert fitted(trials, [True, False], most=20) == trials
    chosen = [trial.number for trial in fitted(trials, [True, False], most=8)]
    assert chosen == sorted(chosen)
    assert len(chosen) == 8
    best = [*sorted(range(20), key=lambda i: -values[i][0])[:2], 0, 3]
    assert set(best) <= set(chosen)
    assert set(chosen) - set(best) == set(sorted(set(range(20)) - set(best))[-4:])
