from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.planning import decisions
from orchestrator.planning.budget import Budget
from orchestrator.planning.job import Job, Outcome
from orchestrator.planning.plan import Plan, plan
from orchestrator.planning.sequential import Sequential, seeds_asked
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import SETTLED, Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.problems import SweepError
from orchestrator.sweepfile.sweep import Sweep
from tests.orchestrator.sweeps import TRIAL, probing, sweep_of

RULE = {"start": 2, "most": 6}
Score = Callable[[Job], float]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Store(tmp_path))


def adding(**changes: Any) -> Sweep:
    return sweep_of(**({"seeds": RULE} | changes))


def feed_of(sweep: Sweep, ledger: Ledger) -> tuple[Sequential, Plan]:
    """As the driver makes it."""
    planned = plan(sweep, ledger)
    assert planned.course is not None
    todo = {job.key for job in planned.evaluated.todo}
    over = {key for key, status in planned.status.items() if status in SETTLED}
    over |= {job.key for job in planned.evaluated.jobs if job.key not in todo}
    done = [key for key, status in planned.status.items() if status == "completed"]
    return Sequential(sweep, planned.course, over, done), planned


def noisy(job: Job) -> float:
    """Epsilon 5 is the best; every cell and seed has noise of its own, the seed one that all share."""
    draw = random.Random(f"{job.cell} {job.seed}").gauss(0, 0.004)
    shared = random.Random(job.seed).gauss(0, 0.02)
    method = job.trial["method"]
    clean = 0.8 if method["p"]["input"] == 0 else 0.9 + 0.02 * (method["epsilon"]["input"] == 5)
    return clean + shared + draw


def write(ledger: Ledger, job: Job, value: float, status: str = "completed") -> None:
    metrics = {"val.accuracy": value} if status == "completed" else {}
    ledger.write(Row(job.key, job.cell, job.seed, status, job.trial, {}, best=metrics, last=metrics))  # type: ignore[arg-type]


def run_all(
    sweep: Sweep, ledger: Ledger, score: Score = noisy, order: random.Random | None = None, most: int = 10**6
) -> list[Job]:
    """Run a sweep with several trials at once, which end in an order of chance; killed after ``most``."""
    feed, _ = feed_of(sweep, ledger)
    ran: list[Job] = []
    running: list[Job] = []
    while not feed.exhausted or running:
        while (job := feed.next()) is not None:
            running.append(job)
        if not running or len(ran) >= most:
            break
        job = running.pop(order.randrange(len(running)) if order else 0)
        ran.append(job)
        write(ledger, job, score(job))
        feed.done(job, Outcome(job.key, "completed", best={"val.accuracy": score(job)}))
    return ran


def ids(jobs: list[Job]) -> set[tuple[str, int]]:
    return {(job.cell, job.seed) for job in jobs}


def test_every_cell_starts_and_only_the_race_goes_on(ledger: Ledger) -> None:
    planned = plan(adding(), ledger)
    assert (planned.counts()["trials"], planned.most) == (6, 18)
    ran = run_all(adding(), ledger)
    seeds = sorted([sum(job.cell == cell for job in ran) for cell in planned.grid.cells])
    assert seeds[0] == 2, "standard training is beaten at once"
    assert 6 < len(ran) < 18
    after = plan(adding(), ledger)
    assert (after.counts()["todo"], after.counts()["trials"]) == (0, len(ran))
    assert run_all(adding(), ledger) == []


@pytest.mark.parametrize("number", range(5))
def test_the_order_in_which_trials_end_changes_nothing(number: int, tmp_path: Path) -> None:
    first = run_all(adding(), Ledger(Store(tmp_path / "first")))
    other = run_all(adding(), Ledger(Store(tmp_path / "other")), order=random.Random(number))
    assert ids(first) == ids(other)


@pytest.mark.parametrize("killed", [1, 5, 7, 9])
def test_a_killed_sweep_continues_to_the_same_end(killed: int, tmp_path: Path) -> None:
    whole = run_all(adding(), Ledger(Store(tmp_path / "whole")))
    ledger = Ledger(Store(tmp_path / "killed"))
    first = run_all(adding(), ledger, most=killed)
    second = run_all(adding(), ledger)
    assert ids(first) | ids(second) == ids(whole)
    assert not ids(first) & ids(second)


def test_an_even_race_ends_at_the_most(ledger: Ledger) -> None:
    even = run_all(adding(), ledger, lambda job: 0.9 + 0.001 * random.Random(job.key).random())
    assert len(even) == 18
    assert feed_of(adding(), ledger)[0].exhausted


def test_seeds_of_an_earlier_sweep_are_taken_in_and_never_run_again(ledger: Ledger) -> None:
    for job in plan(sweep_of(seeds=4), ledger).jobs:
        write(ledger, job, noisy(job))
    planned = plan(adding(), ledger)
    assert planned.counts()["done"] == 12
    assert all(job.seed >= 4 for job in run_all(adding(), ledger))


def test_a_cell_that_fails_leaves_the_race_until_it_is_mended(ledger: Ledger) -> None:
    feed, planned = feed_of(adding(), ledger)
    broken = planned.jobs[-1].cell
    while not feed.exhausted:
        job = feed.next()
        assert job is not None
        if job.cell == broken:
            write(ledger, job, 0, "failed")
            feed.done(job, Outcome(job.key, "failed", "error"))
        else:
            write(ledger, job, noisy(job))
            feed.done(job, Outcome(job.key, "completed", best={"val.accuracy": noisy(job)}))
    assert len(feed.wanted[broken]) == 2
    after = plan(adding(), ledger)
    assert (after.counts()["failed"], {job.cell for job in after.todo}) == (2, {broken})
    assert ids(run_all(adding(), ledger)) >= {(broken, 0), (broken, 1)}


def test_a_diverged_trial_is_a_result_and_not_run_again(ledger: Ledger) -> None:
    lost = plan(adding(), ledger).jobs[0]
    write(ledger, lost, 0, "diverged")
    assert (lost.cell, lost.seed) not in ids(run_all(adding(), ledger))
    assert plan(adding(), ledger).counts()["todo"] == 0


def test_verdicts_ask_for_seeds_of_their_own_cell_alone(ledger: Ledger) -> None:
    at = {"open": {"method.epsilon": 1, "method.p": 0.5}, "clear": {"method.p": 0}}
    published = [{"at": place, "value": 0.9, "margin": 0.02} for place in at.values()]
    sweep = adding(seeds=RULE | {"decide": "published"}, published=published)
    clear, open_, silent = plan(sweep, ledger).grid.cells
    scores = {clear: [0.9, 0.901], open_: [0.8, 1.0], silent: [0.0, 1.0]}
    ran = run_all(sweep, ledger, lambda job: scores[job.cell][job.seed % 2])
    assert {cell: sum(job.cell == cell for job in ran) for cell in scores} == {clear: 2, open_: 6, silent: 2}


def test_a_published_value_has_one_cell(ledger: Ledger) -> None:
    for at, text in (({"method.epsilon": 1}, "stands for 2 cells"), ({}, "stands for 3 cells")):
        sweep = sweep_of(published=[{"at": at, "value": 0.9, "margin": 0.01}])
        with pytest.raises(SweepError, match=text):
            plan(sweep, ledger)


def test_parents_come_along_seed_by_seed(ledger: Ledger) -> None:
    child = TRIAL | {"init": {"from": {"method": "standard"}}}
    sweep = adding(trial=child, axes={"method.epsilon": [1, 5]}, reports=[])
    planned = plan(sweep, ledger)
    assert (planned.counts()["trials"], planned.most) == (6, 18)
    feed, _ = feed_of(sweep, ledger)
    ran = []
    while not feed.exhausted:
        job = feed.next()
        assert job is not None
        ran.append(job)
        value = noisy(job) if job.parent else 0.0
        feed.done(job, Outcome(job.key, "completed", best={"val.accuracy": value}))
    children = [job for job in ran if job.parent]
    assert {job.seed for job in children} == {job.seed for job in ran if not job.parent}


def test_a_lost_parent_ends_its_seeds_and_not_the_sweep(ledger: Ledger) -> None:
    child = TRIAL | {"init": {"from": {"method": "standard"}}}
    feed, _ = feed_of(adding(trial=child, axes={"method.epsilon": [1, 5]}, reports=[]), ledger)
    parent = feed.next()
    assert parent is not None
    feed.done(parent, Outcome(parent.key, "failed", "error"))
    assert all(values[parent.seed] is None for values in feed.values.values())
    while (job := feed.next()) is not None:
        feed.done(job, Outcome(job.key, "completed", best={"val.accuracy": 0.9}))
    assert feed.exhausted


def test_an_evaluations_metric_decides(ledger: Ledger) -> None:
    sweep = probing(seeds=RULE, metric={"name": "probing.accuracy"}, axes={"method.epsilon": [1, 5]})
    feed, _ = feed_of(sweep, ledger)
    looks = 0
    while not feed.exhausted:
        job = feed.next()
        assert job is not None
        metrics = {"val.accuracy": 0.5}
        if job.label:
            looks += 1
            metrics = {
                "probing.accuracy": 0.5 + 0.3 * (job.trial["method"]["epsilon"] == 5) + 1e-3 * job.seed
            }
        feed.done(job, Outcome(job.key, "completed", best=metrics, last=metrics))
    assert looks == 4, "two seeds of two cells, which are far apart"


def test_the_budget_ends_it(ledger: Ledger) -> None:
    feed, _ = feed_of(adding(), ledger)
    budget = Budget(feed, trials=7)
    given = []
    while not budget.exhausted:
        job = budget.next()
        assert job is not None
        given.append(job)
        budget.done(job, Outcome(job.key, "completed", best={"val.accuracy": noisy(job)}))
    assert len(given) == 7
    assert "budget of trials" in budget.stopped


def test_what_grows_is_told(ledger: Ledger) -> None:
    feed, planned = feed_of(adding(), ledger)
    told: list[int] = []
    feed.grown = told.append
    ran = 0
    while (job := feed.next()) is not None:
        ran += 1
        feed.done(job, Outcome(job.key, "completed", best={"val.accuracy": noisy(job)}))
    assert sum(told) == ran - planned.counts()["trials"]


def test_reports_expect_of_each_cell_what_was_asked_of_it(ledger: Ledger) -> None:
    from orchestrator.reports.summary import summarise

    ran = run_all(adding(), ledger)
    planned = plan(adding(), ledger)
    rows = ledger.read([job.key for job in planned.jobs])
    seeds = seeds_asked(adding(), planned.grid.points, rows)
    found = summarise(planned.grid.cells, rows, adding().metric, seeds)
    assert all(cell.complete for cell in found.values())
    assert sum(cell.planned for cell in found.values()) == len(ran)
    partial = summarise(planned.grid.cells, rows[1:], adding().metric, seeds)
    assert sum(not cell.complete for cell in partial.values()) == 1


def test_a_plain_number_of_seeds_stays_as_it_was(ledger: Ledger) -> None:
    planned = plan(sweep_of(seeds=2), ledger)
    assert planned.course is None
    assert seeds_asked(sweep_of(seeds=2), planned.grid.points, []) == (0, 1)
    assert planned.most == planned.counts()["trials"] == 6


def simulated(draw: random.Random, means: dict[str, float], most: int = 10) -> tuple[str | None, str, int]:
    """One made-up sweep: what the sequential mode finds, what all seeds find, and the trials it took."""
    seeds = [draw.gauss(0, 0.005) for _ in range(most)]
    values = {cell: [mean + seed + draw.gauss(0, 0.005) for seed in seeds] for cell, mean in means.items()}
    known: dict[str, dict[int, float | None]] = {cell: dict(enumerate(v[:2])) for cell, v in values.items()}
    while further := decisions.further_for_best(known, "max", most):
        for cell, seed in further:
            known[cell][seed] = values[cell][seed]
    everywhere = max(means, key=lambda cell: sum(values[cell]))
    return decisions.leader_of(known, "max"), everywhere, sum(map(len, known.values()))


def test_200_simulated_sweeps_find_the_best_with_half_the_trials() -> None:
    """Means uniform over four points, noise of half a point: the best is hard to tell for any rule.

    Measured so: sequential finds it in about 80 % with 47 % of the trials, all seeds in 82 %; where the best
    is two points ahead both always do, with 28 %.
    """
    draw = random.Random(0)
    hard, clear, trials, few = 0, 0, 0, 0
    everywhere = 0
    for _ in range(200):
        means = {f"c{i}": 0.88 + 0.04 * draw.random() for i in range(12)}
        best = max(means, key=lambda cell: means[cell])
        found, full, took = simulated(draw, means)
        hard, everywhere, trials = hard + (found == best), everywhere + (full == best), trials + took
        ahead = {f"c{i}": 0.9 - (0.02 if i else 0) * (1 + draw.random()) for i in range(12)}
        found, _, took = simulated(draw, ahead)
        clear, few = clear + (found == "c0"), few + took
    assert trials < 0.6 * 200 * 12 * 10
    assert few < 0.35 * 200 * 12 * 10
    assert clear == 200
    assert hard >= everywhere - 16, "within 8 points of what all seeds find"
