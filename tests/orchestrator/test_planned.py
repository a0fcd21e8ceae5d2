"""The cells planned are the cells run; budgets and added seeds from the plan to the report."""

from __future__ import annotations

import csv
import random
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from engine.config import Trial
from engine.identity import trial_key
from engine.result import Result
from orchestrator import driver, reporting
from orchestrator.dispatch import rows, worker
from orchestrator.driver import run
from orchestrator.options import Ended, Options
from orchestrator.planning.plan import plan
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep, from_dict
from tests.orchestrator.sweeps import TRIAL, sweep_of


def value_of(trial: Trial) -> float:
    """Epsilon 5 is the best; each seed has noise of its own, and each trial a little."""
    method = trial.method.model_dump()
    best = 0.02 * (method.get("epsilon", {}).get("input") == 5)
    noise = random.Random(trial_key(trial)).gauss(0, 0.002)
    return 0.8 + best + random.Random(trial.seed).gauss(0, 0.01) + noise


@pytest.fixture
def fake() -> Iterator[list[str]]:
    """Trials that end at once, and the keys of those that ran; no reports are drawn."""
    ran: list[str] = []

    def train(trial: Trial, report: Any, job: Any, around: Any, workers: Any = None) -> Result:
        ran.append(trial_key(trial))
        if job.keep != "none":
            Store(around.store).put(f"checkpoints/{job.key}/best.pt", b"weights")
        metrics = {"val.accuracy": value_of(trial), "val.loss": 0.1}
        return Result("completed", metrics, metrics, 1, [{"epoch": 1.0, **metrics}], seconds={"train": 0.5})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "train_here", train)
        patch.setattr(rows, "versions", dict)
        patch.setattr(driver, "git_commit", lambda folder: "c")
        patch.setattr(reporting, "write", lambda *given: [])
        patch.setattr(reporting, "show", lambda *given: [])
        yield ran


numbers = st.lists(st.sampled_from([0, 0.5, 1, 5]), min_size=1, max_size=3, unique=True)
epochs = st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True)


@st.composite
def small_sweeps(draw: st.DrawFn) -> dict[str, Any]:
    """Grids, zipped lists, named points, parents and searches of a few cells."""
    content: dict[str, Any] = {"name": "drawn", "trial": dict(TRIAL), "seeds": draw(st.integers(1, 2))}
    if draw(st.booleans()):
        content["trial"]["init"] = {"from": {"method": "standard"}}
    if draw(st.integers(0, 4)) == 0:
        content["search"] = {
            "method.p": {"choice": draw(numbers.map(lambda ps: [p for p in ps if p <= 1] or [0.5]))},
            "method.epsilon": {"uniform": [0.5, 5]},
        }
        content["budget"] = {"trials": draw(st.integers(2, 6))}
        return content
    content["axes"] = {"method.epsilon": draw(numbers)}
    if draw(st.booleans()):
        content["axes"]["method.p"] = [p for p in draw(numbers) if p <= 1] or [0.3]
    if draw(st.booleans()):
        rows = draw(epochs)
        content["zip"] = [{"epochs": rows, "batch_size": [8 * n for n in range(1, len(rows) + 1)]}]
    if draw(st.booleans()):
        content["points"] = {"plain": {}, "K": {"method.steps": draw(st.integers(1, 3))}}
    return content


@given(content=small_sweeps())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_cells_planned_are_the_cells_run(
    content: dict[str, Any], fake: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    fake.clear()
    store = tmp_path_factory.mktemp("planned")
    sweep = from_dict(content)
    before = plan(sweep, Ledger(Store(store)))
    ended = run(sweep, Options(str(store), local=True, track=False))
    after = plan(sweep, Ledger(Store(store)))
    assert Counter(fake) == Counter(job.key for job in after.jobs), "each once, and none besides"
    assert set(Ledger(Store(store)).index()) == set(fake)
    assert after.counts()["failed"] == 0
    if not sweep.search:
        assert [job.key for job in before.jobs] == [job.key for job in after.jobs]
        assert ended.counts["done"] == before.counts()["trials"]
    else:
        assert len(after.grid.cells) * len(sweep.seeds) <= before.counts()["trials"]
    fake.clear()
    run(sweep, Options(str(store), local=True, track=False))
    assert fake == [], "a second run trains nothing"


def ended_with(sweep: Sweep, store: Path) -> tuple[Ended, str]:
    out = StringIO()
    ended = run(sweep, Options(str(store), local=True, track=False), Console(file=out, width=200))
    return ended, out.getvalue()


PRICE = {"cpu_hour": 3600.0}
"""A second costs one; a made-up trial records half a second."""


def test_a_budget_of_cost_stops_with_code_75_and_goes_on(fake: list[str], tmp_path: Path) -> None:
    fake.clear()
    grid = {"method.epsilon": [1, 2, 3, 4, 5, 6, 7, 8]}
    sweep = sweep_of(axes=grid, reports=[], budget={"cost": 1.1, "price": PRICE})
    # in this run its seconds are those of the clock; the ledger holds half a second a trial
    run(
        sweep_of(axes=grid, reports=[], budget={"trials": 2}), Options(str(tmp_path), local=True, track=False)
    )
    ended, _ = ended_with(sweep, tmp_path)
    assert ended.exit_code == 75
    assert ended.stopped.startswith("the budget of cost is used up: 1")
    assert 2 <= len(fake) < 8
    assert ended.counts["done"] == len(fake), "what has finished is reported"
    more = sweep_of(axes=grid, reports=[], budget={"cost": 1000, "price": PRICE})
    assert ended_with(more, tmp_path)[0].exit_code == 0
    assert len(fake) == 8


def test_a_search_ends_at_its_cost(fake: list[str], tmp_path: Path) -> None:
    fake.clear()
    space = {"method.epsilon": {"uniform": [0.5, 5]}}
    budget = {"trials": 50, "cost": 1e-6, "price": PRICE}
    ended, _ = ended_with(sweep_of(axes={}, reports=[], search=space, budget=budget), tmp_path)
    assert ended.exit_code == 75
    assert "budget of cost" in ended.stopped
    assert len(fake) < 50


def test_added_seeds_end_to_end(fake: list[str], tmp_path: Path) -> None:
    fake.clear()
    sweep = sweep_of(seeds={"start": 2, "most": 8}, axes={"method.epsilon": [0.5, 1, 5]}, reports=[])
    before = plan(sweep, Ledger(Store(tmp_path)))
    ended, _ = ended_with(sweep, tmp_path)
    assert (before.counts()["trials"], before.most) == (6, 24)
    assert 6 <= len(fake) < 24
    assert ended.exit_code == 0
    assert ended.counts["done"] == len(fake) == len(set(fake))
    fake.clear()
    assert ended_with(sweep, tmp_path)[0].exit_code == 0
    assert fake == []


def test_reports_of_added_seeds_and_published_values(tmp_path: Path) -> None:
    """With the real engine: the page, the terminal and the CSV say what is decided, and by how many seeds."""
    published = [
        {"at": {"method.p": 0}, "value": 0.5, "margin": 0.4, "source": "Table 0"},
        {"at": {"method.p": 0.5}, "value": 0.1, "margin": 0.001, "source": "Table 1"},
    ]
    sweep = sweep_of(
        seeds={"start": 2, "most": 3}, axes={"method.p": [0, 0.5]}, reports=[], published=published
    )
    ended, text = ended_with(sweep, tmp_path)
    assert ended.exit_code == 0
    assert "Published beside measured" in text
    assert "The race for the best cell" in text
    folder = tmp_path / "sweeps/small/report"
    with (folder / "best.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {line["n"] for line in lines} <= {"2", "3"}
    assert all(line["n"] == line["planned"] for line in lines)
    page = (folder / "report.html").read_text()
    assert "Table 0" in page
    assert "The race for the best cell" in page
    assert "95 %: " in page
    with (folder / "published.csv").open() as file:
        assert [line["published"] for line in csv.DictReader(file)] == ["0.5", "0.1"]


def test_an_estimate_from_a_run_is_near_what_the_next_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a grid is run; the estimate of the rest is within a factor of four of what it then takes."""
    from orchestrator.planning.cost import cost
    from orchestrator.planning.schedule import Cluster

    def sweep(seeds: int) -> Sweep:
        trial = TRIAL | {"data": {"name": "digits", "train_size": 512}, "epochs": 3}
        return sweep_of(trial=trial, axes={"method.steps": [1, 4]}, seeds=seeds, reports=[])

    monkeypatch.setattr(reporting, "write", lambda *given: [])
    monkeypatch.setattr(reporting, "show", lambda *given: [])
    ended_with(sweep(2), tmp_path)
    ledger = Ledger(Store(tmp_path))
    planned = plan(sweep(4), ledger)
    found = cost(sweep(4), planned, ledger, Cluster(((1, 0),)))
    ended_with(sweep(4), tmp_path)
    rows = ledger.read([job.key for job in planned.todo])
    took = sum(row.timings["total"] for row in rows) / 3600
    assert found.hours is not None
    assert found.wall is not None
    assert took / 4 < found.hours.expected < 4 * took
    assert found.wall.expected == pytest.approx(found.hours.expected)
    one, four = found.cells.values()
    assert one is not None
    assert four is not None
    assert one.seconds < four.seconds
