"""Curves that are made up, and curves that are taken from a ledger."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.errors import InputError
from orchestrator.planning.job import Job
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from orchestrator.simulation.curves import Rates, Synthetic
from orchestrator.simulation.recorded import Recorded
from orchestrator.simulation.simulate import curves_of
from tests.orchestrator.conftest import build_row
from tests.orchestrator.sweeps import sweep_of

JOB = Job("key", "cell", 0, {"epochs": 20})


def test_equal_jobs_have_equal_curves_and_seeds_differ_by_noise() -> None:
    curves = Synthetic(noise=0.001)
    first, again = curves.of(JOB), Synthetic(noise=0.001).of(JOB)
    assert first == again
    seed = curves.of(replace(JOB, key="other", seed=1))
    values = [[epoch["val.accuracy"] for epoch in one.epochs] for one in (first, seed)]
    assert values[0] != values[1]
    assert max(abs(a - b) for a, b in zip(*values, strict=True)) < 0.01
    other = curves.of(replace(JOB, cell="better"))
    assert abs(other.last["val.accuracy"] - first.last["val.accuracy"]) > 0.01


def test_a_curve_without_noise_is_the_power_law() -> None:
    curve = Synthetic(noise=0.0).of(JOB)
    accuracy = [epoch["val.accuracy"] for epoch in curve.epochs]
    assert accuracy[0] == pytest.approx(0.1)  # e = 1 leaves a - (a - 0.1)
    assert accuracy == sorted(accuracy)
    assert [e["val.loss"] for e in curve.epochs] == pytest.approx([1.05 - a for a in accuracy])
    # a and c from two epochs, the others follow: (a - x(4)) / (a - x(2)) = (a - x(2)) / (a - x(1))
    one, two, four, eight = (accuracy[e - 1] for e in (1, 2, 4, 8))
    level = (two**2 - one * four) / (2 * two - one - four)
    assert 0.5 <= level <= 0.95
    assert (level - eight) / (level - four) == pytest.approx((level - four) / (level - two))
    assert curve.best == curve.last
    assert curve.best_epoch == 20


def test_seconds_add_up_and_spread() -> None:
    jobs = [replace(JOB, key=str(i)) for i in range(400)]
    even = [sum(Synthetic(60.0).of(job).seconds) for job in jobs[:5]]
    assert even == pytest.approx([60.0] * 5)
    uneven = [sum(Synthetic(60.0, spread=0.2).of(job).seconds) for job in jobs]
    mean = sum(uneven) / len(uneven)
    deviation = (sum((x - mean) ** 2 for x in uneven) / len(uneven)) ** 0.5
    assert mean == pytest.approx(60, abs=3)
    assert deviation == pytest.approx(12, abs=2)


def test_bad_ends_come_at_their_rates() -> None:
    curves = Synthetic(rates=Rates(lost=0.1, preempted=0.1, diverged=0.2, errors=0.1))
    found = [curves.of(replace(JOB, key=str(i))) for i in range(2000)]
    counts = {
        "lost": sum(c.failure == "lost" and not c.free for c in found),
        "preempted": sum(c.free for c in found),
        "diverged": sum(c.status == "diverged" for c in found),
        "errors": sum(c.failure == "error" for c in found),
    }
    for name, rate in {"lost": 0.1, "preempted": 0.1, "diverged": 0.2, "errors": 0.1}.items():
        assert counts[name] / 2000 == pytest.approx(rate, abs=0.03)
    assert all(len(c.epochs) < 20 for c in found if c.status != "completed")
    again = [curves.of(replace(JOB, key=str(i), attempt=2)) for i in range(2000)]
    assert found != again, "the next attempt is drawn anew"


def test_wanted_metrics_are_made_up_too() -> None:
    curve = Synthetic(names=["val.pgd.accuracy", "val.pgd.loss"]).of(JOB)
    assert curve.last["val.pgd.accuracy"] == curve.last["val.accuracy"]
    assert curve.last["val.pgd.loss"] == curve.last["val.loss"]


def test_recorded_by_key_then_by_cell_then_otherwise() -> None:
    ledger = Ledger(Store("memory://recorded-curves"))
    row = build_row("cell", 3, 0.9, key="key", timings={"data": 2.0, "build": 1.0, "total": 33.0})
    ledger.write(row)
    ledger.write(build_row("cell", 1, 0.8, key="early", status="failed"))
    ledger.write(build_row("cell", 0, 0.7, key="cut", status="pruned", rule="r"))
    curves = Recorded(ledger, Synthetic())
    assert curves.found == 1
    mine = curves.of(JOB)
    assert (mine.origin, mine.before, list(mine.seconds)) == ("key", 3.0, [10.0] * 3)
    assert [{"epoch": e, **metrics} for e, metrics in enumerate(mine.epochs, start=1)] == row.history
    assert (mine.best, mine.last, mine.best_epoch) == (row.best, row.last, row.best_epoch)
    sister = curves.of(replace(JOB, key="cut"))
    assert replace(sister, origin="key") == mine
    assert sister.origin == "cell"
    assert curves.of(replace(JOB, key="new", cell="new")).origin == "made up"


def test_a_recorded_divergence_is_replayed() -> None:
    ledger = Ledger(Store("memory://recorded-divergence"))
    ledger.write(build_row("cell", 0, 0.9, 2, key="key", status="diverged", error="train.loss is nan"))
    curve = Recorded(ledger, Synthetic()).of(JOB)
    assert (curve.status, curve.message, len(curve.epochs)) == ("diverged", "train.loss is nan", 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"minutes": 0}, "minutes: 0 is not legal: a number > 0"),
        ({"minutes": float("nan")}, "minutes: nan"),
        ({"spread": 1}, "spread: 1"),
        ({"rates": Rates(lost=-0.1)}, "lost: -0.1"),
        ({"rates": Rates(lost=0.6, errors=0.6)}, "in all"),
        ({"like": "memory://nothing-to-replay"}, "trials that came to their end"),
    ],
)
def test_what_cannot_be_simulated(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        curves_of(sweep_of(), **changes)  # type: ignore[arg-type]
