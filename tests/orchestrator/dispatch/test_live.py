from __future__ import annotations

import random
import statistics
from typing import Any, get_args

import pytest
from rich.console import Console
from scipy import stats

from orchestrator.dispatch.live import HEIGHT, View, line, pace
from orchestrator.dispatch.progress import Progress
from orchestrator.dispatch.standings import Standings
from orchestrator.planning.cells import CellSeeds
from orchestrator.planning.job import Job, Outcome
from orchestrator.records.failures import FailureClass
from orchestrator.sweepfile.parts import Metric


def rendered(snapshot: dict[str, Any], width: int) -> list[str]:
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as captured:
        console.print(View(snapshot))
    return captured.get().splitlines()


def job(i: int, seeds: int = 2) -> Job:
    return Job(f"{i:012}", f"c{i // seeds}", i % seeds, {}, labels={"method.p": i // seeds})


@pytest.fixture
def large() -> Progress:
    """A thousand trials of which 700 ended in every way, 8 run and 12 run elsewhere."""
    told = Progress("a_sweep_with_a_name", {"trials": 1000, "done": 30, "diverged": 5}, Metric())
    fates = [("completed", None)] * 9 + [("diverged", None), ("pruned", None)]
    fates += [("failed", kind) for kind in get_args(FailureClass)]
    for i in range(700):
        status, failure = fates[i % len(fates)]
        told.started(job(i))
        best = {"val.accuracy": 0.5 + i / 10_000} if status == "completed" else {}
        said = f"what went wrong, at length: {'x' * 200}" if failure else ""
        told.finished(job(i), Outcome(job(i).key, status, failure, said, best))  # type: ignore[arg-type]
    for i in range(700, 708):
        told.started(job(i))
    told.aside = {f"elsewhere {i}": job(i) for i in range(12)}
    told.resources = {"CPU": (15.5, 16.0), "GPU": (8.0, 8.0)}
    return told


@pytest.mark.parametrize("width", [20, 40, 80, 140, 300])
def test_the_block_has_one_height_and_fits(large: Progress, width: int) -> None:
    small = Progress("s", {"trials": 3, "done": 0}, Metric())
    for told in (large, small):
        lines = rendered(told.snapshot(), width)
        assert len(lines) == HEIGHT
        assert max(map(len, lines)) <= width


def test_a_thousand_trials(large: Progress) -> None:
    head, states, pace_, best, *_, more = rendered(large.snapshot(), 140)
    assert "a_sweep_with_a_name" in head
    assert "/1000 trials" in head
    counted = large.counted()
    assert sum(counted.values()) == 1000, "each trial is in one state"
    for state, count in counted.items():
        assert f"{count} {state}" in states
    assert counted["diverged"] == 5 + large.states["diverged"]
    assert "CPU 15.5/16  GPU 8/8" in pace_
    assert best.startswith("best  val.accuracy 0.5")
    assert "out of memory" in more
    assert more.count(",") == 5, "the classes that are left"


def test_the_best_cells_have_n_and_an_interval(large: Progress) -> None:
    told = Progress("s", {"trials": 6, "done": 0}, Metric())
    values = (0.7, 0.8, 0.9)
    for seed, value in enumerate(values):
        told.finished(job(seed, 3), Outcome("k", "completed", best={"val.accuracy": value}))
    half = stats.t.ppf(0.975, 2) * statistics.stdev(values) / 3**0.5
    wanted = f"0.8000 ± {half:.4f} (n=3)"
    assert wanted in "\n".join(rendered(told.snapshot(), 100))
    assert wanted in line(told.snapshot())


def finished(told: Progress, cell: str, seed: int, value: float) -> None:
    one = Job(f"{cell}{seed}", cell, seed, {}, labels={"method.p": cell})
    told.started(one)
    told.finished(one, Outcome(one.key, "completed", best={"val.accuracy": value}))


def test_a_cell_that_lacks_seeds_is_no_leader_and_says_so() -> None:
    told = Progress("s", {"trials": 15, "done": 0}, Metric(), seeds=range(5))
    finished(told, "lucky", 0, 0.99)
    assert "best val.accuracy 0.9900 (n=1/5) p=lucky" in line(told.snapshot())
    for seed in range(5):
        finished(told, "whole", seed, 0.8)
    finished(told, "other", 3, 0.85)
    top = told.snapshot()["top"]
    assert [(one["labels"]["method.p"], one["seeds"], one["planned"]) for one in top] == [
        ("whole", 5, 5), ("lucky", 1, 5), ("other", 1, 5),
    ]  # fmt: skip
    text = "\n".join(rendered(told.snapshot(), 100))
    for part in ("0.8000 ± 0.0000 (n=5)  p=whole", "0.9900 (n=1/5)  p=lucky", "0.8500 (n=1/5)  p=other"):
        assert part in text
    assert "best val.accuracy 0.8000 ± 0.0000 (n=5) p=whole" in line(told.snapshot())
    assert told.snapshot()["best"] == {
        "labels": {"method.p": "whole"}, "val.accuracy": 0.8, "seeds": 5, "planned": 5,
    }  # fmt: skip


def test_a_cell_of_which_more_seeds_are_wanted_lacks_them() -> None:
    seeds = CellSeeds(range(4), {"a": {0, 1}, "b": {0, 1}})
    told = Progress("s", {"trials": 4, "done": 0}, Metric(), seeds=seeds)
    for seed in (0, 1):
        finished(told, "a", seed, 0.9)
        finished(told, "b", seed, 0.8)
    finished(told, "parent", 0, 0.1)  # of which nothing is planned
    told.grown(0, {"a": {0, 1}, "b": {0, 1}})
    assert places(told) == [("a", 2, 2), ("b", 2, 2), ("parent", 1, 1)]
    told.grown(1, {"a": {0, 1, 2}, "b": {0, 1}})
    assert (told.trials, places(told)) == (5, [("b", 2, 2), ("parent", 1, 1), ("a", 2, 3)])
    finished(told, "a", 2, 0.9)
    assert places(told) == [("a", 3, 3), ("b", 2, 2), ("parent", 1, 1)]


def places(told: Progress) -> list[tuple[str, int, int]]:
    return [(one["cell"], one["seeds"], one["planned"]) for one in told.top()]


@pytest.mark.parametrize("planned", [0, 4])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_standings_agree_with_sorting_all(mode: Any, planned: int) -> None:
    chance, found = random.Random(0), Standings(mode, range(planned))
    values: dict[str, dict[int, float]] = {}
    for _ in range(600):
        cell, seed, value = f"c{chance.randrange(40)}", chance.randrange(4), chance.choice([0.1, 0.2, 0.3])
        values.setdefault(cell, {})[seed] = value
        found.told(cell, seed, value)
        means = [(len(v) < planned, statistics.fmean(v.values())) for v in values.values()]
        sign = -1 if mode == "max" else 1
        wanted = sorted(means, key=lambda one: (one[0], sign * one[1]))[:3]
        assert [one.mean for one in found.best(3)] == pytest.approx([mean for _, mean in wanted])
        assert [not one.complete for one in found.best(3)] == [lacking for lacking, _ in wanted]
    assert len(found.order) == len(values)
    found.told("c0", 0, float("nan"))
    assert len(found.order) == len(values)


def test_throughput_is_of_the_last_minutes(large: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    begun = time.monotonic()
    large.first_start = begun - 3600
    for i in range(len(large.recent)):
        large.recent[i] = begun - 3600 + i
    large.recent.extend(begun - i for i in range(10, 0, -1))
    assert large.rate() == pytest.approx(10 / 5)
    assert Progress("s", {"trials": 1, "done": 0}, Metric()).rate() is None
    assert pace(2.0) == "2/min"


def test_what_an_earlier_version_wrote_is_shown() -> None:
    old = {
        "sweep": "s", "state": "done", "trials": 10, "done": 9, "running": 0, "failed": 1, "diverged": 0,
        "failures": {"lost": 1}, "evaluations": {}, "eta_seconds": None, "elapsed_seconds": 5.0,
        "best": {"labels": {"method.p": 1}, "val.accuracy": 0.5, "seeds": 2},
    }  # fmt: skip
    text = "\n".join(rendered(old, 100))
    for part in ("9/10 trials", "1 failed", "1 lost", "0.5000 (n=2)  p=1", "done"):
        assert part in text
    assert "0.5000" in line(old)
    top = [{"cell": "c", "labels": {}, "mean": 0.25, "seeds": 3, "interval": [0.2, 0.3]}]
    assert "best  0.2500 ± 0.0500 (n=3) base trial" in line(old | {"top": top}), "nobody knows how many of"
