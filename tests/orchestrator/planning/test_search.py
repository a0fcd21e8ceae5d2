from __future__ import annotations

import json
import math
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engine.config import Trial
from engine.identity import canonical
from orchestrator.planning.job import Job, Outcome
from orchestrator.planning.plan import plan
from orchestrator.planning.results import Result, known
from orchestrator.planning.search import Search
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from tests.orchestrator.planning.searches import searching
from tests.orchestrator.sweeps import sweep_of


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Store(tmp_path))


def score(job: Job) -> float:
    """Best at epsilon 3; any smooth function would do."""
    return 1 / (1 + abs(job.labels.get("method.epsilon", 0) - 3))


def finish(search: Search, job: Job, ledger: Ledger | None = None, value: float | None = None) -> None:
    metrics = {"val.accuracy": score(job) if value is None else value}
    if ledger is not None:
        form = canonical(Trial.model_validate(job.trial))
        ledger.write(Row(job.key, job.cell, job.seed, "completed", job.trial, form, best=metrics))
    search.done(job, Outcome(job.key, "completed", best=metrics))


def run_all(search: Search, ledger: Ledger | None = None, at_most: int = 1000) -> list[Job]:
    jobs = []
    while not search.exhausted and len(jobs) < at_most:
        job = search.next()
        if job is not None:
            jobs.append(job)
            finish(search, job, ledger)
    return jobs


def run_through_outages(
    search: Search, ledger: Ledger, place: object, name: str, every: int, answered: bool = False
) -> list[Job]:
    """As :func:`run_all`, while calls fail that a search makes when it is asked: the first of every so many.

    Args:
        place, name: what is called. answered: a call that fails is carried out, and only its answer is lost.
    """
    well, calls, jobs = getattr(place, name), count(), list[Job]()

    def flaky(*words: Any, **more: Any) -> Any:
        fails = next(calls) % every == 0
        answer = None if fails and not answered else well(*words, **more)
        if fails:
            raise OSError("away")
        return answer

    for _ in range(200):
        if search.exhausted:
            break
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(place, name, flaky)
            try:
                job = search.next()
            except OSError:
                continue
        assert job is not None
        jobs.append(job)
        finish(search, job, ledger)
    assert search.exhausted
    assert next(calls), "the first of them failed"
    return jobs


def test_budget_counts_cells_times_seeds(ledger: Ledger) -> None:
    jobs = run_all(Search(searching(7, seeds=2), ledger))
    assert len(jobs) == 6, "no cell is begun that the budget cannot finish"
    assert len({job.cell for job in jobs}) == 3
    assert [job.seed for job in jobs] == [0, 1] * 3


def test_never_a_cell_twice_even_where_points_collapse(ledger: Ledger) -> None:
    space = {"method.p": {"choice": [0, 0.5]}, "method.epsilon": {"choice": [1, 5]}}
    jobs = run_all(Search(searching(50, search=space), ledger))
    assert len({job.cell for job in jobs}) == len(jobs) == 3, (
        "4 points, 3 cells, and then the space is used up"
    )


def test_seeded(tmp_path: Path) -> None:
    runs = [run_all(Search(searching(), Ledger(Store(tmp_path / name)))) for name in "ab"]
    assert [job.labels for job in runs[0]] == [job.labels for job in runs[1]]


def test_parallel_asks_are_distinct(ledger: Ledger) -> None:
    search = Search(searching(6), ledger)
    jobs = [search.next() for _ in range(6)]
    assert len({job.cell for job in jobs if job}) == 6
    assert search.next() is None


def test_continues_where_it_was_stopped(ledger: Ledger) -> None:
    first = run_all(Search(searching(6), ledger), ledger, at_most=4)
    again = Search(searching(6), ledger)
    second = run_all(again, ledger)
    assert len(second) == 2
    assert not {job.cell for job in first} & {job.cell for job in second}
    assert len(again.study.trials) == 6, "what the ledger held was told"
    assert run_all(Search(searching(6), ledger)) == []


def test_an_unfinished_cell_is_taken_up_and_told(ledger: Ledger) -> None:
    search = Search(searching(4, seeds=2), ledger)
    one, lost = search.next(), search.next()
    assert one is not None
    assert lost is not None
    finish(search, one, ledger)  # and the driver dies before the second seed ends
    again = Search(searching(4, seeds=2), ledger)
    jobs = run_all(again, ledger)
    assert jobs[0].key == lost.key
    assert len(jobs) == 3
    values = [trial.value for trial in again.study.trials]
    assert score(one) in [pytest.approx(v) for v in values if v is not None]


def test_results_of_other_sweeps_in_the_space_are_told(ledger: Ledger) -> None:
    grid = sweep_of(axes={"method.epsilon": [1, 5], "method.p": [0.5]})
    for job in plan(grid, ledger).jobs:
        form = canonical(Trial.model_validate(job.trial))
        row = Row(job.key, job.cell, 0, "completed", job.trial, form, best={"val.accuracy": 0.5})
        ledger.write(row)
    told = Search(searching(), ledger).study.trials
    assert sorted(trial.params["method.epsilon"] for trial in told) == [1, 5]
    assert all(trial.params["method.steps"] == 1 and trial.value == 0.5 for trial in told)
    other = searching(trial=dict(sweep_of().trial, epochs=9))
    assert Search(other, ledger).study.trials == [], "another base trial is another space"


def test_a_failed_seed_fails_the_cell(ledger: Ledger) -> None:
    search = Search(searching(2, seeds=2), ledger)
    one, two = search.next(), search.next()
    assert one is not None
    assert two is not None
    finish(search, one)
    search.done(two, Outcome(two.key, "failed", "error"))
    assert [trial.state.name for trial in search.study.trials] == ["FAIL"]


def test_a_value_that_is_not_finite_fails_the_cell(ledger: Ledger) -> None:
    search = Search(searching(1), ledger)
    job = search.next()
    assert job is not None
    finish(search, job, value=float("nan"))
    assert [trial.state.name for trial in search.study.trials] == ["FAIL"]


def test_conditional_settings(ledger: Ledger) -> None:
    space = {
        "method": {"choice": ["standard", "fgm"]},
        "method.epsilon": {"log_uniform": [0.1, 10], "when": {"method": "fgm"}},
    }
    jobs = run_all(Search(searching(5, search=space), ledger))
    labels = [job.labels for job in jobs]
    assert {"method": "standard"} in labels
    assert all(("method.epsilon" in one) == (one["method"] == "fgm") for one in labels)


def test_points_are_written_before_they_run(ledger: Ledger) -> None:
    search = Search(searching(2), ledger)
    job = search.next()
    assert job is not None
    content = ledger.store.get("sweeps/small/points.json")
    assert content is not None
    assert json.loads(content) == [job.labels]


def test_a_changed_space_is_refused(ledger: Ledger) -> None:
    run_all(Search(searching(2), ledger))
    narrower = searching(2, search={"method.p": {"uniform": [0, 1]}})
    with pytest.raises(ValueError, match="give the sweep a new name"):
        plan(narrower, ledger)


def test_learns(ledger: Ledger) -> None:
    space = {"method.epsilon": {"uniform": [0, 100]}}
    jobs = run_all(Search(searching(60, search=space), ledger))

    def mean_distance(part: list[Job]) -> float:
        return sum(abs(job.labels["method.epsilon"] - 3) for job in part) / len(part)

    assert mean_distance(jobs[-20:]) < mean_distance(jobs[:10])


def test_a_parent_is_trained_once_and_before_its_children(ledger: Ledger) -> None:
    base = dict(sweep_of().trial, init={"from": {"method": "standard"}})
    search = Search(searching(3, trial=base), ledger)
    parent = search.next()
    assert parent is not None
    assert parent.parent is None
    assert search.next() is None or search.queue.waiting, "children wait"
    finish(search, parent, ledger)
    ledger.store.put(f"checkpoints/{parent.key}/best.pt", b"weights")
    jobs = run_all(search, ledger)
    assert parent.key not in [job.key for job in jobs]
    assert len({job.cell for job in jobs}) == len(jobs) == 3


def test_seeds_that_the_ledger_holds_are_not_run_again(ledger: Ledger) -> None:
    space = {"method.epsilon": {"choice": [1, 5]}}
    first = run_all(Search(searching(2, search=space), ledger), ledger)
    other = searching(4, search=space, seeds=2, name="wider")
    second = run_all(Search(other, ledger), ledger)
    assert sorted(job.seed for job in second) == [1, 1]
    assert {job.cell for job in first} == {job.cell for job in second}


SAMPLERS = ["tpe", "gp", "cmaes", "nsga2", "random", "qmc"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_is_seeded_and_learns_nothing_twice(tmp_path: Path, sampler: str) -> None:
    sweep = searching(14, sampler=sampler, seeds=[3])
    runs = [run_all(Search(sweep, Ledger(Store(f"memory://{sampler}/{tmp_path.name}/{i}")))) for i in "ab"]
    assert [job.labels for job in runs[0]] == [job.labels for job in runs[1]]
    assert len({job.cell for job in runs[0]}) == 14


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_proposals_that_collapse_end_when_the_space_is_used_up(tmp_path: Path, sampler: str) -> None:
    space = {"method.steps": {"int": [1, 3]}, "epochs": {"int": [1, 4]}}
    ledger = Ledger(Store(f"memory://{sampler}/collapse/{tmp_path.name}"))
    search = Search(searching(50, search=space, sampler=sampler), ledger)
    jobs = run_all(search, ledger)
    assert len({job.cell for job in jobs}) == len(jobs) == 12
    assert search.note == "the search space holds no further cell"


@pytest.mark.parametrize("scramble", [True, False])
def test_a_sequence_is_continued(tmp_path: Path, scramble: bool) -> None:
    sweep = searching(32, sampler={"name": "qmc", "scramble": scramble})
    halves = Ledger(Store(f"memory://{tmp_path.name}/{scramble}/a"))
    ran = run_all(Search(sweep, halves), halves, at_most=16) + run_all(Search(sweep, halves), halves)
    whole = run_all(Search(sweep, Ledger(Store(f"memory://{tmp_path.name}/{scramble}/b"))))
    assert len(ran) == 32
    same = {job.cell for job in ran} & {job.cell for job in whole}
    assert len(same) >= 31, "all but the first, which is drawn at random"


def test_points_to_try_first(ledger: Ledger) -> None:
    first = [{"method.p": 0.5, "method.epsilon": 5, "method.steps": 2}, {"method.p": 0.7}]
    jobs = run_all(Search(searching(4, try_first=first), ledger), ledger, at_most=1)
    assert jobs[0].labels == {"method.p": 0.5, "method.epsilon": 5.0, "method.steps": 2}
    again = run_all(Search(searching(4, try_first=first), ledger), ledger)
    assert again[0].labels["method.p"] == 0.7, "the next one, and the first is not repeated"
    assert [job.labels["method.p"] for job in again].count(0.7) == 1
    assert len(again) == 3
    wider = searching(5, try_first=first, name="wider")
    other = run_all(Search(wider, ledger), ledger)
    assert 0.5 not in [job.labels["method.p"] for job in other], "the ledger holds it"


def test_conditional_points_to_try_first(ledger: Ledger) -> None:
    space = {
        "method": {"choice": ["standard", "fgm"]},
        "method.epsilon": {"log_uniform": [0.1, 10], "when": {"method": "fgm"}},
    }
    first = [{"method": "fgm", "method.epsilon": 3}, {"method": "fgm"}, {"method": "standard"}]
    labels = [job.labels for job in run_all(Search(searching(3, search=space, try_first=first), ledger))]
    assert labels[0] == first[0]
    assert labels[1]["method"] == "fgm"
    assert labels[2] == first[2]


def test_several_objectives_are_told_together(ledger: Ledger) -> None:
    both = [{"name": "val.accuracy"}, {"name": "clean.loss"}]
    sweep = searching(4, objectives=both, evaluations=[{"name": "clean", "split": "val"}], seeds=2)
    search = Search(sweep, ledger)
    jobs = [search.next(), search.next()]
    for job in jobs:
        assert job is not None
        ledger.store.put(f"checkpoints/{job.key}/best.pt", b"weights")
        finish(search, job, ledger, value=0.5 + job.seed / 10)
    assert [trial.state.name for trial in search.study.trials] == ["RUNNING"], "the evaluations are to come"
    for _ in range(2):
        job = search.next()
        assert job is not None
        assert job.label == "clean"
        metrics = {"clean.loss": 2.0 + job.seed}
        search.done(job, Outcome(job.key, "completed", best=metrics, last=metrics))
    (trial,) = search.study.trials
    assert trial.values == [pytest.approx(0.55), 2.5]
    again = Search(sweep, ledger)
    assert len(again.queue.evaluations) == 2, "the driver was killed before their rows were written"


def test_a_trial_that_diverges_has_no_value_whatever_it_had_before(ledger: Ledger) -> None:
    search = Search(searching(1), ledger)
    job = search.next()
    assert job is not None
    form = canonical(Trial.model_validate(job.trial))
    ledger.write(Row(job.key, job.cell, 0, "diverged", job.trial, form, best={"val.accuracy": 0.9}))
    again = Search(searching(2), ledger)
    assert again.values == {job.cell: again.values[job.cell]}
    assert again.values[job.cell].means is None
    assert again.study.trials == []


def test_rows_of_two_seeds_are_told_as_one(ledger: Ledger) -> None:
    sweep = searching(4, seeds=2)
    jobs = run_all(Search(sweep, ledger), ledger)
    told = Search(searching(8, seeds=2, name="other"), ledger).study.trials
    assert len(told) == 2
    assert all(trial.user_attrs["n"] == 2 for trial in told)
    alone = Search(searching(8, seeds=3, name="third"), ledger).study.trials
    assert alone == [], "two seeds of three are no cell yet"
    assert len(jobs) == 4


def test_rows_outside_the_space_are_not_expanded(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    run_all(Search(searching(3, trial=dict(sweep_of().trial, epochs=7)), ledger), ledger)
    asked = []
    monkeypatch.setattr("orchestrator.planning.results.settings_of", lambda row, sweep: asked.append(row))
    assert known(searching(3, name="other"), ledger, {}) == {}
    assert asked == []


@pytest.mark.parametrize("where", ["write", "read", "ask", "mark"])
def test_an_outage_loses_no_cell(ledger: Ledger, where: str) -> None:
    """Each of these fails at every second call; one who asks again gets the same cells as without outages."""
    calms = Search(searching(6, seeds=2), Ledger(Store(Path(ledger.store.location) / "calm")))
    expected = [(job.cell, job.seed) for job in run_all(calms, calms.ledger)]
    search = Search(searching(6, seeds=2), ledger)
    place, name = {
        "write": (search.asked.store, "put"),
        "read": (search.ledger, "read"),
        "ask": (search.study, "propose"),
        "mark": (search.study, "mark"),
    }[where]
    jobs = run_through_outages(search, ledger, place, name, every=2)
    assert [(job.cell, job.seed) for job in jobs] == expected
    written = ledger.store.get("sweeps/small/points.json")
    assert written is not None
    assert len(search.asked.points) == len(json.loads(written)) == 3


def test_what_a_study_was_not_told_is_told_later(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(searching(3), ledger)
    well = search.study.tell

    def away(*words: Any) -> None:
        raise OSError("away")

    job = search.next()
    assert job is not None
    monkeypatch.setattr(search.study, "tell", away)
    finish(search, job, ledger)
    assert search.note == "the study does not answer and lacks 1 cells; the next run tells it"
    with pytest.raises(OSError, match="away"):
        search.next()
    monkeypatch.setattr(search.study, "tell", well)
    assert len(run_all(search, ledger)) == 2
    assert search.note == ""
    assert all(trial.state.name == "COMPLETE" for trial in search.study.trials)


@pytest.mark.parametrize("answered", [False, True], ids=["call lost", "answer lost"])
@pytest.mark.parametrize(
    "name",
    [
        "create_new_trial",
        "set_trial_state_values",
        "set_trial_param",
        "set_trial_user_attr",
        "get_all_trials",
    ],
)
def test_an_outage_in_the_middle_of_an_ask(ledger: Ledger, name: str, answered: bool) -> None:
    """The point to try first is tried, and no trial is left under way."""
    point = {"method.p": 0.25, "method.epsilon": 2.0, "method.steps": 2}
    search = Search(searching(4, try_first=[point]), ledger)
    jobs = run_through_outages(search, ledger, search.study.storage, name, 3, answered)
    assert jobs[0].labels == point
    assert len({job.cell for job in jobs}) == 4
    assert [trial.state.name for trial in search.study.trials] == ["COMPLETE"] * 4


@pytest.mark.parametrize("answered", [False, True], ids=["call lost", "answer lost"])
@pytest.mark.parametrize("every", [5, 6, 7])
@pytest.mark.parametrize("name", ["set_trial_user_attr", "set_trial_state_values"])
def test_an_outage_while_a_known_cell_is_proposed(
    ledger: Ledger, name: str, every: int, answered: bool
) -> None:
    """Its trial is told what the cell came to, whichever of the calls is lost that this takes."""
    space = {"method.steps": {"int": [1, 3]}, "epochs": {"int": [1, 2]}}
    search = Search(searching(6, search=space), ledger)
    jobs = run_through_outages(search, ledger, search.study.storage, name, every, answered)
    assert len({job.cell for job in jobs}) == 6
    trials = search.study.trials
    assert len(trials) > 6, "some cells were proposed again"
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert {(trial.user_attrs["cell"], trial.value) for trial in trials} == {
        (job.cell, score(job)) for job in jobs
    }


def test_a_study_that_is_away_is_not_asked_at_every_end(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its refusal may take seconds, in which the dispatcher waits."""
    search, asked = Search(searching(6), ledger), []
    well = search.study.tell
    jobs = [job for _ in range(6) if (job := search.next()) is not None]

    def away(*words: Any) -> None:
        asked.append(words)
        raise OSError("away")

    monkeypatch.setattr(search.study, "tell", away)
    for job in jobs[:5]:
        finish(search, job, ledger)
    assert len(asked) == 1
    assert search.note.startswith("the study does not answer and lacks 5 cells")
    monkeypatch.setattr(search.study, "tell", well)
    finish(search, jobs[5], ledger)
    assert search.note == "", "at the end it is asked whatever was before"
    assert [trial.state.name for trial in search.study.trials] == ["COMPLETE"] * 6


@pytest.mark.parametrize("storage", ["memory", "sqlite:///optuna.db", "study.log"])
@pytest.mark.parametrize(
    ("result", "state"),
    [
        (None, "FAIL"),
        (Result({0: (math.nan,)}), "FAIL"),
        (Result({0: (math.nan,)}, ((1, 0.5),)), "PRUNED"),
        (Result({0: (0.5,)}), "COMPLETE"),
    ],
)
def test_a_cell_told_by_a_call_whose_answer_was_lost(
    ledger: Ledger, storage: str, result: Result | None, state: str
) -> None:
    search = Search(searching(1, sampler={"storage": storage}), ledger)
    job = search.next()
    assert job is not None
    number = search.open[job.cell].number
    for _ in range(2):
        search.study.tell(number, result)
    assert [trial.state.name for trial in search.study.trials] == [state]
