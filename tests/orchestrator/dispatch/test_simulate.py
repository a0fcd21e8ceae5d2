"""Sweeps on simulated slots: the same bookkeeping as in earnest, in no time."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import InputError
from orchestrator.driver import run
from orchestrator.options import Options
from orchestrator.planning.job import Job
from orchestrator.planning.plan import plan
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from orchestrator.simulation.curves import Curve, Curves, Rates, Synthetic
from orchestrator.simulation.result import Simulated
from orchestrator.simulation.simulate import curves_of, simulate
from orchestrator.simulation.view import simulated_lines
from orchestrator.sweepfile.sweep import Sweep
from tests.orchestrator.planning.searches import NUMBERS, searching
from tests.orchestrator.sweeps import TRIAL, sweep_of

REAL = ("driver", "workers", "memory")


def grid(cells: int, epochs: int = 9, **changes: Any) -> Sweep:
    axes = {"method.epsilon": [float(i + 1) for i in range(cells)]}
    return sweep_of(trial=TRIAL | {"epochs": epochs}, axes=axes, reports=[], **changes)


def virtual(found: Simulated) -> dict[str, Any]:
    """Without what the machine decides."""
    return {name: value for name, value in asdict(found).items() if name not in REAL}


class Ranked:
    """The i-th trial asked for climbs to accuracy 1 - i / 100 in steps of a minute."""

    def __init__(self) -> None:
        self.ranks: dict[str, int] = {}

    def of(self, job: Job) -> Curve:
        rank, epochs = self.ranks.setdefault(job.key, len(self.ranks)), job.trial["epochs"]
        values = [(1 - rank / 100) * e / epochs for e in range(1, epochs + 1)]
        metrics = [{"val.accuracy": value} for value in values]
        return Curve(metrics, [60.0] * epochs, best=metrics[-1], last=metrics[-1], best_epoch=epochs)


def test_the_rows_are_those_of_a_run(tmp_path: Path) -> None:
    run(sweep_of(), Options(str(tmp_path / "run"), local=True, track=False))
    simulate(sweep_of(), 2, folder=tmp_path / "simulated")
    ran, simulated = (Ledger(Store(tmp_path / name)) for name in ("run", "simulated"))
    assert simulated.index() == ran.index()
    for one, other in zip(simulated.read(ran.index()), ran.read(ran.index()), strict=True):
        for name in ("key", "cell", "seed", "status", "trial", "canonical", "contract", "data_hash"):
            assert getattr(one, name) == getattr(other, name)
        assert [e["epoch"] for e in one.history] == [e["epoch"] for e in other.history]
    assert not Store(tmp_path / "simulated").names("claims")


def test_the_time_that_a_grid_takes() -> None:
    found = simulate(grid(10), 4)
    assert found.seconds == found.minimum == pytest.approx(3 * 1800)
    assert found.utilisation == pytest.approx(10 / 12)
    assert found.delay == 0
    assert found.statuses == {"completed": 10, "diverged": 0, "pruned": 0, "failed": 0, "waiting": 0}
    assert found.json()["overhead_1000x"] == pytest.approx(found.overhead())


def test_a_busy_driver_makes_events_wait() -> None:
    found = simulate(grid(10), 4, speed=1000)
    assert found.minimum == pytest.approx(3 * 1800)
    assert found.seconds > found.minimum
    assert found.delay == pytest.approx(found.seconds / found.minimum - 1)


def test_the_best_cell_is_the_one_with_the_best_curve() -> None:
    sweep = grid(12, seeds=2)
    found = simulate(sweep, 5, Synthetic(noise=0.0))
    last = {j.cell: (Synthetic(noise=0.0).of(j).last["val.accuracy"], j.labels) for j in _jobs(sweep)}
    assert found.best is not None
    value, labels = max(last.values(), key=lambda one: one[0])
    assert (found.best["mean"], found.best["labels"], found.best["seeds"]) == (value, labels, 2)


def _jobs(sweep: Sweep) -> list[Job]:
    return plan(sweep, Ledger(Store("memory://nothing"))).todo


@pytest.mark.parametrize("rule", [None, {"name": "asha", "brackets": 2}, "median", "hyperband"])
def test_equal_calls_give_equal_results(rule: Any) -> None:
    sweep = grid(12, scheduler=rule)
    curves = Synthetic(spread=0.3, rates=Rates(lost=0.1, diverged=0.1))
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr, index]
    first = simulate(sweep, 3, curves)
    assert virtual(first) == virtual(simulate(sweep, 3, curves))
    assert (np.random.get_state()[1] == before).all(), "the generator of others is left as it was"  # type: ignore[index]


@pytest.mark.parametrize("rule", ["asha", "median", "hyperband"])
def test_schedulers_prune_and_save_time(tmp_path: Path, rule: str) -> None:
    whole = simulate(grid(20), 4, Ranked())
    sweep = grid(20, scheduler=rule)
    found = simulate(sweep, 4, Ranked(), folder=tmp_path)
    assert found.statuses["pruned"] >= 5
    assert found.statuses["pruned"] + found.statuses["completed"] == 20
    assert found.seconds < 0.8 * whole.seconds
    assert found.best is not None
    assert found.best["mean"] == 1.0, "the best trial goes on"
    ledger = Ledger(Store(tmp_path))
    for row in ledger.read(ledger.index(sweep.rule), rule=sweep.rule):
        assert [e["epoch"] for e in row.history] == list(range(1, len(row.history) + 1))
        assert (len(row.history) < 9) == (row.status == "pruned")
        assert row.rule == (sweep.rule if row.status == "pruned" else "")
    assert simulate(sweep, 4, Ranked(), folder=tmp_path).attempts == 0, "all is done for the same rule"


class ThirdFails(Ranked):
    """Of the nine trials of Tune's third bracket, which come after 3 and 5 others, the third best diverges.

    It is in its second stretch then, and the two better ones wait for it.
    """

    def of(self, job: Job) -> Curve:
        whole = super().of(job)
        if self.ranks[job.key] != 3 + 5 + 2:
            return whole
        return replace(whole, epochs=whole.epochs[:2], seconds=[60.0, 600.0], status="diverged")


def test_a_failure_does_not_keep_a_bracket_waiting() -> None:
    found = simulate(grid(17, scheduler="hyperband"), 17, ThirdFails())
    ends = {"completed": 3 + 2 + 1, "diverged": 1, "pruned": 3 + 7, "failed": 0, "waiting": 0}
    assert found.statuses == ends, "of the third bracket nine, three, and the better of two"


def test_a_sweep_that_is_stopped_judges_nobody_any_more(tmp_path: Path) -> None:
    """After two and a half minutes six trials wait for their bracket; three of another run to their end."""
    found = simulate(
        grid(17, scheduler="hyperband", budget={"hours": 2.5 / 60}), 9, Ranked(), folder=tmp_path
    )
    assert found.stopped == "the budget of hours is used up"
    assert found.statuses == {"completed": 3, "diverged": 0, "pruned": 0, "failed": 0, "waiting": 14}
    rest = simulate(grid(17, scheduler="hyperband"), 9, Ranked(), folder=tmp_path)
    assert rest.statuses["completed"] + rest.statuses["pruned"] == 17
    assert rest.attempts == 14


def test_asha_keeps_the_third_that_came_and_was_best() -> None:
    """One slot, best first: at epochs 1 and 3 a trial stays that is no worse than 2/3 of those before it."""
    found = simulate(grid(9, scheduler="asha"), 1, Ranked())
    rungs: dict[int, list[float]] = {1: [], 3: []}
    minutes = 0
    for rank in range(9):
        for epoch in range(1, 10):
            minutes += 1
            value = (1 - rank / 100) * epoch / 9
            if epoch in rungs:
                before = rungs[epoch]
                stops = bool(before) and value < np.percentile(before, 100 * (1 - 1 / 3))
                before.append(value)
                if stops:
                    break
    assert found.seconds == pytest.approx(60 * minutes)


def expected(job: Job, curves: Curves, retries: int, free: int) -> tuple[str, int]:
    """How a job ends, and after how many attempts."""
    lost = taken = 0
    for attempt in range(1, 100):
        curve = curves.of(replace(job, attempt=attempt))
        if curve.failure != "lost":
            return curve.status, attempt
        lost, taken = lost + (not curve.free), taken + curve.free
        if lost > retries or taken > free:
            return "failed", attempt
    raise AssertionError


def test_failures_end_as_the_policy_says(tmp_path: Path) -> None:
    sweep = grid(60, failures={"retries": 1, "lost": 2, "same_error": 0})
    curves = Synthetic(rates=Rates(lost=0.25, preempted=0.2, diverged=0.1, errors=0.1))
    found = simulate(sweep, 7, curves, folder=tmp_path)
    wanted = {job.key: expected(job, curves, 1, 2) for job in _jobs(sweep)}
    ledger = Ledger(Store(tmp_path))
    rows = ledger.read(ledger.index())
    assert {row.key: (row.status, row.attempts) for row in rows} == wanted
    assert len(list((tmp_path / "ledger/trials").rglob("*.parquet"))) == 60, "each key once"
    assert found.attempts == sum(attempts for _, attempts in wanted.values())
    assert sum(found.statuses.values()) == 60
    failed = Counter(row.failure for row in rows if row.status == "failed")
    assert found.failures == dict(failed)
    assert {"lost", "error"} <= set(failed)
    assert min(Counter(status for status, _ in wanted.values()).values()) >= 3, "each end is there"


def test_a_dead_trial_goes_on_from_its_last_epoch() -> None:
    class Dying:
        def of(self, job: Job) -> Curve:
            epochs = [{"val.accuracy": 0.5}] * (4 if job.attempt == 1 else 9)
            about = {"status": "failed", "failure": "lost"} if job.attempt == 1 else {"last": epochs[-1]}
            return Curve(epochs, [10.0] * len(epochs), 3.0, 5.0, **about)  # type: ignore[arg-type]

    found = simulate(grid(1), 1, Dying())
    assert found.seconds == pytest.approx((3 + 40 + 5) + (3 + 50 + 5))
    assert (found.attempts, found.statuses["completed"]) == (2, 1)


def test_errors_that_are_alike_stop_the_sweep() -> None:
    class Broken:
        def of(self, job: Job) -> Curve:
            return Curve([], [], 10.0, status="failed", failure="error", message="no such layer")

    found = simulate(grid(30, failures={"same_error": 3}), 1, Broken())
    assert (found.statuses["failed"], found.statuses["waiting"]) == (3, 27)
    assert "3 trials failed alike: no such layer" in found.stopped


def test_a_trial_that_takes_too_long() -> None:
    found = simulate(grid(2, failures={"minutes": 5}), 2, Ranked())
    assert (found.seconds, found.failures) == (300, {"time-out": 2})


@pytest.mark.parametrize(("budget", "ran"), [({"trials": 6}, 6), ({"hours": 1}, 8)])
def test_budgets_stop_it(budget: dict[str, float], ran: int) -> None:
    """In an hour four slots begin twice, where a trial takes a second more than half of it."""
    found = simulate(grid(20, budget=budget), 4, Synthetic(seconds=1801))
    assert f"budget of {next(iter(budget))}" in found.stopped
    assert (found.statuses["completed"], found.statuses["waiting"]) == (ran, 20 - ran)


def test_a_search_asks_for_its_budget(tmp_path: Path) -> None:
    sampler = {"name": "random", "storage": f"sqlite:///{tmp_path}/study.db"}
    found = simulate(searching(15, search=NUMBERS, sampler=sampler), 4)
    assert found.statuses["completed"] == 15
    assert not list(tmp_path.iterdir()), "the study of earnest is not touched"


def test_seeds_are_added() -> None:
    sweep = grid(3, seeds={"start": 2, "most": 6, "decide": "best"})
    found = simulate(sweep, 4, Synthetic(noise=0.05))
    assert 6 < found.statuses["completed"] <= 18
    assert found.trials == found.statuses["completed"]
    assert found.best is not None
    assert 2 < found.best["seeds"] == found.best["planned"]


def test_a_best_cell_that_lacks_seeds_is_shown_as_such() -> None:
    found = simulate(grid(3, seeds=2, budget={"trials": 2}), 1)
    assert found.best is not None
    assert (found.best["seeds"], found.best["planned"]) == (1, 2)
    assert "(1 of 2 seeds)" in "\n".join(simulated_lines(found))


def test_recorded_trials_are_replayed(tmp_path: Path) -> None:
    run(sweep_of(), Options(str(tmp_path / "run"), local=True, track=False))
    sweep = sweep_of(seeds=2)
    curves = curves_of(sweep, like=str(tmp_path / "run"))
    found = simulate(sweep, 1, curves, folder=tmp_path / "simulated")
    assert found.curves == {"key": 3, "cell": 3}
    ran, simulated = (Ledger(Store(tmp_path / name)) for name in ("run", "simulated"))
    rows = ran.read(ran.index())
    assert found.seconds == pytest.approx(2 * sum(row.timings["total"] for row in rows))
    for row, replayed in zip(rows, simulated.read(ran.index()), strict=True):
        assert (replayed.history, replayed.best, replayed.last) == (row.history, row.best, row.last)
        assert replayed.timings["total"] == pytest.approx(row.timings["total"])
    assert len(ran.index()) == 3, "it is only read"


def test_the_calls_of_the_store_grow_with_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 trials on 50 slots, none of whose rows is written: the driver's own calls."""
    calls: Counter[str] = Counter()

    def counted(name: str) -> None:
        inner = getattr(Store, name)

        def outer(self: Store, *args: Any) -> Any:
            calls[name] += 1
            return inner(self, *args)

        monkeypatch.setattr(Store, name, outer)

    for name in ("names", "get", "put", "exists", "link", "create", "remove"):
        counted(name)
    monkeypatch.setattr(Ledger, "write", lambda self, row: True)
    many = []
    for seeds in (25, 100):
        calls.clear()
        found = simulate(grid(10, seeds=seeds), 50, Ranked())
        assert found.attempts == 10 * seeds
        many.append(dict(calls))
    for name, count in many[1].items():
        assert count <= 4.2 * many[0].get(name, 0) + 20, name
    assert sum(many[1].values()) <= 12 * 1000
    assert many[1].get("create", 0) <= 10, "a claim is a link"
    assert many[1]["put"] <= 20, "the driver writes nothing of a trial that goes well"


def test_what_is_judged_by_an_evaluation_is_refused() -> None:
    sweep = sweep_of(evaluations=["clean"], metric={"name": "clean.accuracy"})
    with pytest.raises(InputError, match="evaluations are not simulated"):
        simulate(sweep, 2)
    assert simulate(sweep_of(evaluations=["clean"]), 2).statuses["completed"] == 3, "they are left out"


def test_a_population_is_refused() -> None:
    rule = {"name": "pbt", "mutate": {"method.epsilon": {"uniform": [0, 9]}}}
    with pytest.raises(InputError, match=r"scheduler\.name: 'pbt' is not legal: another one, or none"):
        simulate(grid(4, scheduler=rule), 2)


def test_no_slots() -> None:
    with pytest.raises(InputError, match="slots: 0"):
        simulate(sweep_of(), 0)


def test_random_slots_and_lengths_keep_all_slots_busy() -> None:
    """Whatever the lengths, a grid is given out as by slots that take the next when they are free."""
    draws = random.Random(5)
    for _ in range(3):
        found = simulate(grid(draws.randrange(5, 30)), draws.randrange(1, 9), Synthetic(spread=0.4))
        assert found.seconds == pytest.approx(found.minimum)
