"""Ray Tune as the dispatcher: real trials on the session's two CPUs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.driver import evaluate, run
from orchestrator.options import Options
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import from_dict
from tests.orchestrator.sweeps import PLUGINS, TRIAL, breaking, probing, sweep_of

pytestmark = pytest.mark.usefixtures("ray_session")


def on_ray(store: Path, track: bool = False) -> Options:
    return Options(str(store), cpus=2, track=track)


def rows_of(store: Path) -> dict[str, Row]:
    """By key, without what may differ between hosts and moments."""
    ledger = Ledger(Store(store))
    rows = ledger.read(ledger.index())
    return {r.key: replace(r, timings={}, finished="", workers=1) for r in rows}


def test_rows_are_those_of_the_run_in_process(tmp_path: Path) -> None:
    sweep = sweep_of(seeds=2)
    assert run(sweep, on_ray(tmp_path / "ray")).exit_code == 0
    assert run(sweep, replace(on_ray(tmp_path / "local"), local=True)).exit_code == 0
    rows = rows_of(tmp_path / "ray")
    assert len(rows) == 6
    assert rows == rows_of(tmp_path / "local")
    assert not (tmp_path / "ray/sweeps/small/.tune").exists(), "Tune's bookkeeping is thrown away"


def test_a_killed_trial_starts_again_and_ends_the_same(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    sweep = breaking("kill once", model={"marker": str(marker)})
    ended = run(sweep, on_ray(tmp_path / "store"))
    assert marker.exists(), "it was killed"
    assert ended.exit_code == 0
    assert sorted(Ledger(Store(tmp_path / "store")).index().values()) == ["completed"] * 2
    again = run(sweep, replace(on_ray(tmp_path / "unkilled"), local=True))
    assert again.exit_code == 0
    killed, whole = rows_of(tmp_path / "store"), rows_of(tmp_path / "unkilled")
    assert {k: r.history for k, r in killed.items()} == {k: r.history for k, r in whole.items()}


def test_a_trial_that_dies_each_time_is_recorded_as_lost(tmp_path: Path) -> None:
    ended = run(breaking("kill"), on_ray(tmp_path))
    assert ended.exit_code == 1
    assert ended.failures == {"lost": 1}
    rows = {row.status: row for row in rows_of(tmp_path).values()}
    assert rows["failed"].failure == "lost"
    assert rows["completed"].best


def test_an_exception_is_recorded_and_not_repeated(tmp_path: Path) -> None:
    ended = run(breaking("raise"), on_ray(tmp_path))
    assert ended.failures == {"error": 1}
    assert "on purpose" in next(row for row in rows_of(tmp_path).values() if row.status == "failed").error


def test_two_workers_give_the_result_of_one(tmp_path: Path) -> None:
    axes = {"method.epsilon": [1, 5], "method.p": [0.5]}
    one = sweep_of(axes=axes)
    two = sweep_of(axes=axes, resources={"cpus": 1, "workers": 2})
    assert run(two, on_ray(tmp_path / "two")).exit_code == 0
    assert run(one, replace(on_ray(tmp_path / "one"), local=True)).exit_code == 0
    found, wanted = rows_of(tmp_path / "two"), rows_of(tmp_path / "one")
    assert found.keys() == wanted.keys(), "the worker count is no part of the key"
    for key, row in wanted.items():
        for epoch, same in zip(row.history, found[key].history, strict=True):
            assert same == pytest.approx(epoch, abs=1e-5)
    assert {r.workers for r in Ledger(Store(tmp_path / "two")).read(found)} == {2}


STEPS = 8
"""Of an epoch of the gang that is killed."""


def killed(folder: Path, store: Path, rank: int | None = None) -> tuple[Row, list[list[str]]]:
    """A trial of two workers whose rank dies in the middle of its second epoch: its row, and its steps."""
    (folder / "steps").write_text("")
    if rank is not None:
        (folder / "kill").write_text(str(rank))
    model = {"name": "killed", "at": STEPS + 5, "folder": str(folder)}
    data = {"name": "digits", "train_size": 32 * STEPS}
    trial = TRIAL | {"model": model, "method": "standard", "epochs": 3, "data": data}
    content = {"name": "killed", "trial": trial, "plugins": ["killed.py"], "resources": {"workers": 2}}
    assert run(from_dict(content, PLUGINS), on_ray(store)).exit_code == 0
    (row,) = Ledger(Store(store)).read(Ledger(Store(store)).index())
    assert not (folder / "kill").exists()
    return row, [line.split() for line in (folder / "steps").read_text().splitlines()]


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row]:
    """The folder that the trial is told of, which is part of its key, and its row where nobody kills it."""
    folder = tmp_path_factory.mktemp("killed")
    row, steps = killed(folder, folder / "store")
    assert [step for rank, step in steps if rank == "0"] == [str(i + 1) for i in range(3 * STEPS)]
    return folder, row


@pytest.mark.parametrize("rank", [0, 1])
def test_a_dead_rank_ends_the_gang_and_the_trial_goes_on(
    tmp_path: Path, unkilled: tuple[Path, Row], rank: int
) -> None:
    """From its last checkpoint, and bit for bit: the real engine on two workers, one killed in mid-epoch."""
    folder, whole = unkilled
    row, steps = killed(folder, tmp_path, rank)
    assert (row.status, row.attempts, whole.attempts) == ("completed", 2, 1)
    assert (row.key, row.workers, whole.workers) == (whole.key, 2, 2)
    assert (row.history, row.best, row.last) == (whole.history, whole.best, whole.last)
    assert (row.correct, len(row.history)) == (whole.correct, 3)
    numbers = [int(step) for of, step in steps if of == str(rank)]
    assert numbers[: STEPS + 5] == [*range(1, STEPS + 6)], "then it was killed"
    again = numbers[STEPS + 5 :]
    assert again[0] == 1
    assert len(again) < 2 * STEPS, "its checkpoint was of the middle of the second epoch"


def test_a_search(tmp_path: Path) -> None:
    sweep = sweep_of(
        axes={}, reports=[], budget={"trials": 4},
        search={"method.p": {"uniform": [0.1, 1]}, "method.steps": {"int": [1, 2]}},
    )  # fmt: skip
    ended = run(sweep, on_ray(tmp_path))
    assert ended.exit_code == 0
    assert ended.counts["done"] == ended.counts["cells"] == 4
    assert run(sweep, on_ray(tmp_path)).counts == ended.counts
    assert len(rows_of(tmp_path)) == 4


def test_more_than_the_cluster_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"resources.cpus: 64 for each of 1 workers is not legal"):
        run(sweep_of(resources={"cpus": 64}), on_ray(tmp_path))


def evaluations_of(store: Path) -> dict[str, dict[str, float]]:
    ledger = Ledger(Store(store)).evaluations
    return {row.key: row.metrics for row in ledger.read(ledger.index())}


def test_evaluations_are_those_of_the_run_in_process(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    killed = {"name": "probing", "label": "killed", "act": "kill", "marker": str(marker)}
    sweep = probing("probing", killed)
    ended = run(sweep, on_ray(tmp_path / "ray"))
    assert marker.exists(), "one was killed"
    assert (ended.exit_code, ended.evaluations["done"]) == (0, 4)
    assert run(sweep, replace(on_ray(tmp_path / "local"), local=True)).exit_code == 0
    assert evaluations_of(tmp_path / "ray") == evaluations_of(tmp_path / "local")
    bad = probing(killed | {"act": "kill", "marker": ""})
    ended = evaluate(bad, on_ray(tmp_path / "ray"))
    assert ended.failures == {"lost": 2}
    assert (ended.exit_code, ended.counts["done"]) == (1, 2)


def test_a_gang_evaluates_together(tmp_path: Path) -> None:
    sweep = probing("probing", axes={}, resources={"cpus": 1, "workers": 2})
    assert run(sweep, on_ray(tmp_path)).exit_code == 0
    (metrics,) = evaluations_of(tmp_path).values()
    (row,) = rows_of(tmp_path).values()
    assert metrics["workers"] == 2
    assert metrics["accuracy"] == pytest.approx(row.best["test.accuracy"])
