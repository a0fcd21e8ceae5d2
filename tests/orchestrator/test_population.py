"""Populations (``scheduler: {name: pbt}``): real rounds of Ray Tune over scripted and real trials."""

from __future__ import annotations

import csv
import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from engine.checkpoint import Member
from engine.config import Trial, override
from engine.errors import InputError
from engine.identity import digest
from engine.report import Event, Signal
from engine.train import train
from orchestrator.driver import run
from orchestrator.options import Ended, Options
from orchestrator.planning.plan import plan
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.records.verify import verify
from orchestrator.sweepfile.problems import SweepError
from orchestrator.sweepfile.sweep import Sweep, from_dict
from tests.orchestrator.sweeps import PLUGINS, stopped_once

EPOCHS = 6
NAME = "method.epsilon"
BOUNDS = (0.05, 20.0)
EPSILONS = (0.1, 0.5, 1, 4, 10)
PBT: dict[str, Any] = {"name": "pbt", "every": 2, "mutate": {NAME: {"log_uniform": list(BOUNDS)}}}


def population(*before: str, **changes: Any) -> Sweep:
    """Members that learn the faster the nearer their epsilon is to 1; ``before`` are further actions."""
    script = [*before, *[f"learn:{NAME}"] * EPOCHS]
    content: dict[str, Any] = {
        "name": "population",
        "trial": {
            "data": "digits", "model": {"name": "scripted", "script": script}, "method": "fgm",
            "epochs": EPOCHS,
        },
        "axes": {NAME: list(EPSILONS)},
        "scheduler": PBT,
        "plugins": ["scripted.py"],
    }  # fmt: skip
    return from_dict(content | changes, PLUGINS)


def ran(sweep: Sweep, store: Path) -> Ended:
    return run(sweep, Options(str(store), cpus=2, track=False))


def rows_of(sweep: Sweep, store: Path) -> list[Row]:
    ledger = Ledger(Store(store))
    return ledger.read([job.key for job in plan(sweep, ledger).jobs])


def check_lineage(row: Row, keys: set[str]) -> None:
    """The history is what the lineage says that was trained."""
    assert [segment["epoch"] for segment in row.lineage] == sorted({s["epoch"] for s in row.lineage})
    assert (row.lineage[0]["epoch"], row.lineage[0]["from"]) == (1, "")
    for segment in row.lineage[1:]:
        assert segment["from"] in keys
        assert segment["epoch"] % 2 == 1
        assert BOUNDS[0] <= segment["settings"][NAME] <= BOUNDS[1]
    accuracy = 0.0
    for epoch in row.history:
        (*_, current) = [s["settings"][NAME] for s in row.lineage if s["epoch"] <= epoch["epoch"]]
        accuracy += 0.1 * math.exp(-abs(math.log(current)))
        assert epoch["val.accuracy"] == pytest.approx(accuracy)
    assert [epoch["epoch"] for epoch in row.history] == list(range(1, EPOCHS + 1))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_the_worst_take_over_from_the_best(tmp_path: Path) -> None:
    sweep = population()
    ended = ran(sweep, tmp_path)
    assert ended.exit_code == 0
    assert ended.counts["done"] == len(EPSILONS)
    found = rows_of(sweep, tmp_path)
    keys = {row.key for row in found}
    for row, epsilon in zip(found, EPSILONS, strict=True):
        check_lineage(row, keys)
        assert row.trial["method"]["epsilon"] == epsilon, "what it began with"
    taken = [row for row in found if len(row.lineage) > 1]
    assert found[0] in taken, "0.1 learns the worst"
    assert found[2] not in taken, "1 learns the best"
    assert not Store(tmp_path).names("checkpoints"), "nothing is left"
    checked = verify(Ledger(Store(tmp_path)))
    assert (checked.trials, checked.damaged) == (len(EPSILONS), [])
    again = ran(sweep, tmp_path)
    assert again.counts == ended.counts
    assert [row.finished for row in rows_of(sweep, tmp_path)] == [row.finished for row in found]


def test_no_other_sweep_takes_a_member_for_its_own(tmp_path: Path) -> None:
    ledger = Ledger(Store(tmp_path))
    mine, plain = plan(population(), ledger), plan(population(scheduler=None), ledger)
    other = plan(population(name="other"), ledger)
    varied = plan(population(scheduler=PBT | {"resample": 0.5}), ledger)
    more = plan(population(axes={NAME: [*EPSILONS, 2]}), ledger)
    plans = [mine, plain, other, varied, more]
    keys = [{job.key for job in one.jobs} for one in plans]
    cells = [{job.cell for job in one.jobs} for one in plans]
    assert len(set.union(*keys)) == len(set.union(*cells)) == sum(map(len, keys))
    for job in mine.jobs:
        assert job.key == digest(job.canonical)
        form = {name: value for name, value in job.canonical.items() if name != "seed"}
        assert job.cell == digest(form)
        assert {point.cell for point in mine.grid.points} >= {job.cell}
    assert mine.counts()["trials"] == mine.counts()["cells"] == len(EPSILONS)


def test_seeds_of_one_cell_begin_with_draws(tmp_path: Path) -> None:
    sweep = population(axes={}, seeds=8, scheduler=PBT | {"start": "sample"})
    jobs = plan(sweep, Ledger(Store(tmp_path))).jobs
    values = [job.settings[NAME] for job in jobs]
    assert len(set(values)) == 8
    assert all(BOUNDS[0] <= value <= BOUNDS[1] for value in values)
    assert len({job.cell for job in jobs}) == 1, "replicates of one cell"
    again = plan(sweep, Ledger(Store(tmp_path))).jobs
    assert [job.settings for job in again] == [job.settings for job in jobs]
    given = population(scheduler=PBT | {"start": "sample"})
    assert [job.settings[NAME] for job in plan(given, Ledger(Store(tmp_path))).jobs] == list(EPSILONS)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"search": {NAME: {"uniform": [0, 1]}}, "axes": {}, "budget": {"trials": 9}}, "search: is not legal"),
    ({"evaluations": ["pgd"]}, "evaluations: is not legal beside scheduler: {name: pbt}: leave one"),
    ({"seeds": {"most": 4}}, "seeds: is not legal beside scheduler: {name: pbt}: a number or a list"),
    ({"scheduler": "pbt"}, "scheduler.mutate: is missing"),
    ({"scheduler": PBT | {"mutate": {}}}, "scheduler.mutate: "),
    ({"scheduler": PBT | {"quantile": 0.6}}, "scheduler.quantile: 0.6 is not legal: "),
    ({"scheduler": PBT | {"factors": [0, 2]}}, "scheduler.factors.0: 0 is not legal: "),
    ({"scheduler": PBT | {"mutate": {"optimizer.lr": {"uniform": [0, 1]}}}},
     "scheduler.mutate.optimizer.lr: is not legal: settings of the method"),
    ({"scheduler": PBT | {"mutate": {NAME: {"uniform": [0, 20], "when": {"a": 1}}}}},
     "scheduler.mutate.method.epsilon.when: "),
    ({"scheduler": PBT | {"mutate": {"method.gama": {"uniform": [0, 1]}}}},
     "scheduler.mutate.method.gama: unknown setting"),
    ({"scheduler": PBT | {"mutate": {NAME: {"uniform": [-1, 20]}}}}, "scheduler.mutate.method.epsilon: -1.0"),
    ({"scheduler": PBT | {"mutate": {NAME: {"uniform": [1, 20]}}}},
     "scheduler.mutate.method.epsilon: 0.1 is not legal: a beginning within {uniform: [1.0, 20.0]}"),
    ({"scheduler": PBT | {"every": 6}}, "scheduler.every: 6 is not legal: less than the 6 epochs"),
    ({"axes": {}}, "scheduler: is not legal with 1: a population of 4 members or more"),
    ({"axes": {"epochs": [5, 6, 7, 8]}}, "scheduler: is not legal where epochs differs between cells"),
    ({"seeds": 2, "trial": {"data": {"name": "digits", "train_size": 64}, "method": "fgm", "epochs": 6,
                            "model": "lenet5_8x8"}}, "trial.data: train_size is not legal in a population"),
    ({"metric": {"name": "test.accuracy"}}, "scheduler: 'test.accuracy' is not legal: a metric of every"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "problem"), BAD)
def test_what_is_wrong_is_one_line(tmp_path: Path, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SweepError) as caught:
        plan(population(**settings), Ledger(Store(tmp_path)))
    told = [line for line in caught.value.problems if problem in line]
    assert len(told) == 1, caught.value.problems


def test_without_ray_there_are_no_rounds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"scheduler\.name"):
        run(population(), Options(str(tmp_path), local=True, track=False))


def slow_population(store: Path, *before: str, **changes: Any) -> list[Row]:
    sweep = population(*before, **changes)
    ended = ran(sweep, store)
    assert ended.exit_code == 0
    found = rows_of(sweep, store)
    keys = {row.key for row in found}
    assert len(found) == len(EPSILONS)
    for row in found:
        check_lineage(row, keys)
    assert any(len(row.lineage) > 1 for row in found)
    assert not Store(store).names("checkpoints")
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_killed_members_go_on(tmp_path: Path) -> None:
    killed = [f"learn:{NAME}"] * 3 + [f"once:{tmp_path}/died", "kill"] + [f"learn:{NAME}"] * (EPOCHS - 3)
    trial = dict(population().trial) | {"model": {"name": "scripted", "script": killed}}
    found = slow_population(tmp_path / "store", trial=trial)
    assert sorted(row.attempts for row in found) == [1] * (len(found) - 1) + [2]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_gangs_rest_and_take_over(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    slow_population(tmp_path / "store", "rank:0", f"log:{runs}", resources={"workers": 2})
    lines = runs.read_text().splitlines()
    assert len({line.split()[1] for line in lines}) == 1, "one process was rank 0 of all"


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_round_waits_for_no_member_that_ended(tmp_path: Path) -> None:
    chosen = [f"learn:{NAME}", f"once:{tmp_path}/a", "nan", f"once:{tmp_path}/b", "raise:no"]
    chosen += [f"learn:{NAME}"] * (EPOCHS - 1)
    trial = dict(population().trial) | {"model": {"name": "scripted", "script": chosen}}
    sweep = population(trial=trial, failures={"same_error": 0})
    ended = ran(sweep, tmp_path / "store")
    assert ended.counts["diverged"] == ended.counts["failed"] == 1
    found = rows_of(sweep, tmp_path / "store")
    assert [row.status for row in found].count("completed") == len(EPSILONS) - 2
    again = ran(sweep, tmp_path / "store")
    assert again.counts["done"] == len(EPSILONS)


def trained_again(row: Row, name: str, folder: Path) -> list[dict[str, float]]:
    """The history of a trial by itself that changes a setting where a member's lineage does, once."""
    first, after = (segment["settings"][name] for segment in row.lineage)
    trials = [deepcopy(row.trial) for _ in range(2)]
    for trial, value in zip(trials, (first, after), strict=True):
        override(trial, name, value)

    def until_the_round(event: Event) -> Signal:
        return "stop" if event.metrics and event.epoch == 2 else "continue"

    folder, member = folder / "again", Member("again")
    assert train(Trial.model_validate(trials[0]), until_the_round, folder, member=member).status == "stopped"
    return train(Trial.model_validate(trials[1]), folder=folder, member=member).history


EPSILON_OF_DROPATTACK = {"name": "dropattack", "targets": ["input", "conv1.w"]}, NAME, (0.1, 1, 5, 10), BOUNDS
AWP = {"name": "at_awp", "steps": 1, "weight": {"kind": "relative"}}
GAMMA_OF_AWP = AWP, "method.weight.gamma", (0.001, 0.01, 0.1, 0.5), (0.0005, 1.0)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("method", "name", "values", "bounds"), [EPSILON_OF_DROPATTACK, GAMMA_OF_AWP], ids=["epsilon", "gamma"]
)
def test_a_population_of_real_trials(
    tmp_path: Path, method: dict[str, Any], name: str, values: tuple[float, ...], bounds: tuple[float, float]
) -> None:
    trial = {"data": "digits", "model": "lenet5_8x8", "epochs": 4, "method": method}
    rule = PBT | {"mutate": {name: {"log_uniform": list(bounds)}}, "resample": 0}
    sweep = from_dict({
        "name": "real", "trial": trial, "axes": {name: list(values)}, "scheduler": rule,
        "metric": {"name": "val.loss"},
    })  # fmt: skip
    assert ran(sweep, tmp_path).exit_code == 0
    found = {row.key: row for row in rows_of(sweep, tmp_path)}
    began: dict[str, dict[str, Any]] = {
        row.key: {"epoch": 1, "from": "", "settings": {name: value}}
        for row, value in zip(found.values(), values, strict=True)
    }
    taken = [row for row in found.values() if len(row.lineage) > 1]
    assert len(taken) == 1, "a quarter"
    (row,) = taken
    donor = found[row.lineage[1]["from"]]
    assert {one.key: one.lineage for one in found.values() if one is not row} == {
        key: [segment] for key, segment in began.items() if key != row.key
    }
    (value,) = row.lineage[1]["settings"].values()
    after = {"epoch": 3, "from": donor.key, "settings": {name: value}}
    assert row.lineage == [began[donor.key], after], "that of its weights"
    assert value / began[donor.key]["settings"][name] in (pytest.approx(0.8), pytest.approx(1.2))
    assert [epoch["epoch"] for epoch in row.history] == [1, 2, 3, 4]
    assert row.history[:2] == donor.history[:2]
    assert row.history[2:] != donor.history[2:], "it has another value, and all else is the same"
    assert row.history == trained_again(row, name, tmp_path), "as its lineage says"
    at_two = {key: one.history[1]["val.loss"] for key, one in found.items() if one is not row}
    assert donor.history[1]["val.loss"] == min(at_two.values())
    folder = tmp_path / "sweeps/real/report"
    assert (folder / "schedules.png").read_bytes()[:4] == b"\x89PNG"
    header, *lines = csv.reader((folder / "schedules.csv").read_text().splitlines())
    assert header == ["member", "epoch", name, "from"]
    assert [row.key, "3", str(value), donor.key] in lines
    assert len(lines) == 4 + 1 == sum(len(one.lineage) for one in found.values()), "each segment"


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_drained_population_goes_on_with_its_settings(tmp_path: Path) -> None:
    store, begun, reached = Store(tmp_path / "store"), tmp_path / "begun", tmp_path / "reached"
    script = [f"log:{begun}", *[f"learn:{NAME}"] * 3, f"log:{reached}", "sleep:0.5"]
    trial = dict(population().trial)
    trial["model"] = {"name": "scripted", "script": [*script, *[f"learn:{NAME}"] * (EPOCHS - 3)]}
    sweep = population(trial=trial)

    with stopped_once(reached, store, sweep.name):
        ended = ran(sweep, tmp_path / "store")
    assert ended.exit_code == 75
    assert ended.counts["done"] == 0
    assert all(store.exists(f"checkpoints/{job.key}/member-2.pt") for job in plan(sweep, Ledger(store)).jobs)
    ended = ran(sweep, tmp_path / "store")
    assert ended.exit_code == 0
    found = rows_of(sweep, tmp_path / "store")
    for row in found:
        check_lineage(row, {one.key for one in found})
    assert len(begun.read_text().splitlines()) == len(EPSILONS), "none began anew"
    assert not store.names("checkpoints")
