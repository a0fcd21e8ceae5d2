"""Costs from made-up timings: a step takes 10 ms a pass, an epoch's evaluation 0.5 s, a start 2 s."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.config import Trial
from orchestrator.costing import cluster_of, cost_lines, estimate_text
from orchestrator.planning.cost import Cost, as_json, cost
from orchestrator.planning.job import Job
from orchestrator.planning.plan import plan
from orchestrator.planning.schedule import Cluster
from orchestrator.planning.timing import Pilot, keep_pilot
from orchestrator.planning.workload import work_of
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep
from tests.orchestrator.sweeps import TRIAL, probing, sweep_of

PASS, EPOCH, START = 0.01, 0.5, 2.0
TWO = Cluster(((2, 0),))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Store(tmp_path))


def seconds_of(job: Job) -> float:
    work = work_of(Trial.model_validate(job.trial))
    return PASS * work.units + EPOCH * work.epochs + START


def write(ledger: Ledger, job: Job, factor: float = 1.0, device: str = "cpu (x86_64)", **fields: Any) -> None:
    work = work_of(Trial.model_validate(job.trial))
    epochs = fields.pop("epochs", work.epochs)
    parts = {"train": PASS * work.passes * work.steps * epochs, "evaluate": EPOCH * epochs, "data": START}
    timings = {name: factor * seconds for name, seconds in parts.items()}
    timings["total"] = sum(timings.values())
    history = [{"epoch": float(i)} for i in range(epochs)]
    row: dict[str, Any] = {"status": "completed", "history": history, "timings": timings, "device": device}
    ledger.write(Row(job.key, job.cell, job.seed, trial=job.trial, canonical={}, **(row | fields)))


def steps_sweep(**changes: Any) -> Sweep:
    """K = 1 ... 5."""
    axes = {"method.steps": [1, 2, 3, 4, 5]}
    return sweep_of(**({"axes": axes, "reports": [], "seeds": 2} | changes))


def estimated(sweep: Sweep, ledger: Ledger, cluster: Cluster = TWO) -> Cost:
    return cost(sweep, plan(sweep, ledger), ledger, cluster)


def test_nothing_is_known_of_an_empty_ledger(ledger: Ledger) -> None:
    found = estimated(steps_sweep(), ledger)
    assert (found.unknown, found.hours, found.wall) == (10, None, None)
    assert set(found.cells.values()) == {None}
    assert "10 trials take; perturb plan --pilot" in " ".join(cost_lines(found))


def test_k_matters_and_scales_by_its_passes(ledger: Ledger) -> None:
    """Rows of K = 1 alone give each K its own estimate: 1 + 2K passes."""
    sweep = steps_sweep()
    jobs = plan(sweep, ledger).jobs
    for job in jobs:
        if job.trial["method"]["steps"] == 1:
            write(ledger, job)
    found = list(estimated(sweep, ledger).cells.values())
    assert [one.source for one in found if one] == ["same cell"] + ["like trials"] * 4
    seconds = [one.seconds for one in found if one]
    wanted = [seconds_of(job) for job in jobs[:5]]
    assert seconds == pytest.approx(wanted)
    assert len(set(wanted)) == 5
    assert wanted == sorted(wanted)
    assert all(one and one.rows == 2 for one in found)


@pytest.mark.parametrize(
    ("change", "factor"),
    [({"epochs": 6}, 3.0), ({"data": {"name": "digits", "train_size": 128}}, 2.0)],
)
def test_epochs_and_training_size_scale_the_training(
    ledger: Ledger, change: dict[str, Any], factor: float
) -> None:
    for job in plan(sweep_of(), ledger).jobs:
        write(ledger, job)
    wider = sweep_of(trial=TRIAL | change)
    jobs = {job.cell: job for job in plan(wider, ledger).jobs}
    for cell, one in estimated(wider, ledger).cells.items():
        assert one is not None
        assert one.seconds == pytest.approx(seconds_of(jobs[cell]))
    base = work_of(Trial.model_validate(plan(sweep_of(), ledger).jobs[0].trial)).units
    assert work_of(Trial.model_validate(next(iter(jobs.values())).trial)).units == factor * base


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"name": "lenet5_8x8"}, "batch_size": 64},
        {"precision": "bf16"},
        {"attacks": {"pgd": {"name": "pgd"}}},
    ],
)
def test_trials_of_another_kind_tell_nothing(ledger: Ledger, change: dict[str, Any]) -> None:
    for job in plan(sweep_of(), ledger).jobs:
        write(ledger, job)
    assert set(estimated(sweep_of(trial=TRIAL | change), ledger).cells.values()) == {None}


def test_devices_and_worker_counts_are_kept_apart(ledger: Ledger) -> None:
    jobs = plan(sweep_of(), ledger).jobs
    write(ledger, jobs[0], 0.1, device="NVIDIA H200")
    write(ledger, jobs[1], 0.5, workers=2)
    assert estimated(sweep_of(), ledger).unknown == 1
    assert set(estimated(sweep_of(), ledger).cells.values()) == {None}
    on_gpu = estimated(sweep_of(resources={"gpus": 0.5}, seeds=2), ledger, Cluster(((8, 1),)))
    assert on_gpu.unit == "GPU"
    assert on_gpu.slots == 2
    assert all(one and one.rows == 1 for one in on_gpu.cells.values())
    two = estimated(sweep_of(resources={"workers": 2}, seeds=2), ledger)
    assert all(one and one.rows == 1 for one in two.cells.values())
    assert two.slots == 1


def test_the_interval_narrows_with_rows_and_widens_with_their_spread(tmp_path: Path) -> None:
    def width(name: str, rows: int, noise: float) -> float:
        ledger, draw = Ledger(Store(tmp_path / name)), random.Random(0)
        jobs = plan(sweep_of(axes={}, reports=[], seeds=rows), ledger).jobs
        for job in jobs:
            write(ledger, job, math.exp(draw.gauss(0, noise)))
        (one,) = estimated(sweep_of(axes={}, reports=[], seeds=rows + 1), ledger).cells.values()
        assert one is not None
        assert one.rows == rows
        return math.log(one.interval[1] / one.interval[0])

    assert width("one", 1, 0.02) > width("ten", 10, 0.02)
    assert width("even", 10, 0.02) < width("uneven", 10, 0.5)


def test_one_row_far_out_does_not_decide(ledger: Ledger) -> None:
    jobs = plan(sweep_of(axes={}, reports=[], seeds=9), ledger).jobs
    for job in jobs[:8]:
        write(ledger, job, 50.0 if job.seed == 0 else 1.0)
    (one,) = estimated(sweep_of(axes={}, reports=[], seeds=9), ledger).cells.values()
    assert one is not None
    assert one.seconds == pytest.approx(seconds_of(jobs[0]))
    assert one.spread < 0.2


def test_totals_wall_clock_and_money(ledger: Ledger) -> None:
    sweep = steps_sweep(budget={"price": {"cpu_hour": 0.5}}, resources={"cpus": 2}, seeds=3)
    jobs = plan(sweep, ledger).jobs
    for job in jobs[:5]:
        write(ledger, job)
    found = estimated(sweep, ledger, Cluster(((4, 0), (3, 0))))
    seconds = [seconds_of(job) for job in jobs[5:]]
    assert found.slots == 3, "a trial of two CPUs does not reach over two nodes"
    assert found.hours is not None
    assert found.wall is not None
    assert found.money is not None
    assert found.hours.expected == pytest.approx(2 * sum(seconds) / 3600)
    assert found.money.expected == pytest.approx(found.hours.expected * 0.5)
    assert sum(seconds) / 3 <= 3600 * found.wall.expected <= sum(seconds) / 3 + max(seconds)
    assert found.wall.low < found.wall.expected < found.wall.high
    assert estimated(sweep, ledger).hours == found.hours, "seeded, and whatever the cluster"


def test_no_room_on_the_cluster(ledger: Ledger) -> None:
    sweep = steps_sweep(resources={"gpus": 1})
    write(ledger, plan(sweep, ledger).jobs[0], device="NVIDIA H200")
    found = estimated(sweep, ledger)
    assert (found.slots, found.wall) == (0, None)
    assert found.hours is not None
    assert "no room for a trial on 1 node, 2 CPUs" in " ".join(cost_lines(found))


def test_patience_makes_an_upper_bound_also_from_a_trial_that_ended_early(ledger: Ledger) -> None:
    sweep = sweep_of(trial=TRIAL | {"patience": 1, "epochs": 10}, axes={}, reports=[], seeds=2)
    first, second = plan(sweep, ledger).jobs
    write(ledger, first, epochs=2)
    (one,) = estimated(sweep, ledger).cells.values()
    assert one is not None
    assert one.at_most
    assert one.seconds == pytest.approx(seconds_of(second))
    assert estimate_text(one).startswith("<= ")


def test_a_pilot_serves_until_rows_do(ledger: Ledger) -> None:
    sweep = steps_sweep()
    jobs = plan(sweep, ledger).jobs
    kind = work_of(Trial.model_validate(jobs[0].trial)).kind
    keep_pilot(ledger.store, "p", Pilot(kind, "cpu", 2 * PASS, EPOCH, START, 40, "here", "2026-01-01"))
    found = [one for one in estimated(sweep, ledger).cells.values() if one]
    assert {one.source for one in found} == {"pilot"}
    assert [one.seconds for one in found] == pytest.approx([
        seconds_of(job) + PASS * work_of(Trial.model_validate(job.trial)).units for job in jobs[:5]
    ])  # fmt: skip
    write(ledger, jobs[0])
    assert {one.source for one in estimated(sweep, ledger).cells.values() if one} == {
        "same cell",
        "like trials",
    }


def test_other_sweeps_rows_count(ledger: Ledger) -> None:
    for job in plan(sweep_of(axes={"method.epsilon": [2]}, reports=[]), ledger).jobs:
        write(ledger, job)
    assert {one.source for one in estimated(sweep_of(), ledger).cells.values() if one} == {"like trials"}


def test_evaluations_from_like_ones(ledger: Ledger) -> None:
    sweep = probing(seeds=2)
    planned = plan(sweep, ledger)
    for job in planned.jobs:
        write(ledger, job)
    assert estimated(sweep, ledger).unknown_evaluations == 0, "weights are gone: impossible, so none is to do"
    for job in planned.jobs:
        ledger.store.put(f"checkpoints/{job.key}/best.pt", b"")
    assert estimated(sweep, ledger).unknown_evaluations == 4
    look = planned.evaluated.jobs[0]
    ledger.evaluations.write(EvaluationRow(
        look.key, look.parent or "", look.cell, look.seed, "best", "probing", "probing", "completed",
        canonical=look.canonical, seconds=30.0, device="cpu (x86_64)", data_hash=look.data_hash,
    ))  # fmt: skip
    found = estimated(sweep, ledger)
    assert found.unknown_evaluations == 0
    assert found.hours is not None
    assert found.hours.expected == pytest.approx(3 * 30 / 3600)
    assert as_json(found)["evaluations"]["probing"]["seconds"] == pytest.approx(30)


def test_a_search_is_estimated_at_the_ends_of_its_space(ledger: Ledger) -> None:
    for job in plan(steps_sweep(), ledger).jobs:
        write(ledger, job)
    sweep = sweep_of(axes={}, reports=[], search={"method.steps": {"int": [1, 5]}}, budget={"trials": 4})
    found = estimated(sweep, ledger)
    ends = [
        seconds_of(job) for job in plan(steps_sweep(), ledger).jobs if job.labels["method.steps"] in (1, 5)
    ]
    assert found.unknown == 0
    assert found.hours is not None
    assert found.hours.expected == pytest.approx(sum(ends) / 3600)


def test_seeds_that_may_be_added_are_told_apart(ledger: Ledger) -> None:
    for job in plan(sweep_of(), ledger).jobs:
        write(ledger, job)
    found = estimated(sweep_of(seeds={"start": 2, "most": 10}), ledger)
    assert found.hours is not None
    assert found.hours_most is not None
    assert found.hours_most > 5 * found.hours.expected


def test_when_all_is_done_nothing_is_left_to_pay(ledger: Ledger) -> None:
    for job in plan(sweep_of(), ledger).jobs:
        write(ledger, job)
    found = estimated(sweep_of(), ledger)
    assert found.hours is not None
    assert (found.hours.expected, found.unknown, found.trials) == (0, 0, 0)
    assert list(cost_lines(found)) == []


def test_planning_for_an_address_stands_alone() -> None:
    with pytest.raises(ValueError, match="--address"):
        cluster_of("auto", 3, None)
    assert cluster_of(None, 3, 2) == Cluster(((3, 2),))


def test_planning_with_costs_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from tests.orchestrator.sweeps import sweep_of\n"
        "from orchestrator.planning.plan import plan\n"
        "from orchestrator.costing import cluster_of, costed\n"
        "from orchestrator.records.ledger import Ledger\n"
        "from orchestrator.records.store import Store\n"
        f"ledger = Ledger(Store({str(tmp_path)!r}))\n"
        "sweep = sweep_of()\n"
        "plan(sweep, ledger)\n"  # reads the catalogue of models, which it may have to make
        "print(costed(sweep, plan(sweep, ledger), ledger, cluster_of(None, None, None)).unknown)\n"
        "print(sorted({'torch', 'ray', 'mlflow', 'optuna'} & set(sys.modules)))\n"
    )
    run = [sys.executable, "-c", code]
    subprocess.run(run, capture_output=True, check=True)
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["3", "[]"]
