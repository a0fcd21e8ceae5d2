from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from orchestrator.dispatch import progress as module
from orchestrator.dispatch import pulse as pulse_module
from orchestrator.dispatch.live import View, duration, line, words
from orchestrator.dispatch.progress import Progress
from orchestrator.dispatch.pulse import Pulse
from orchestrator.planning.evaluations import Evaluated
from orchestrator.planning.job import Job, Outcome
from orchestrator.records.store import Store
from orchestrator.sweepfile.parts import Metric

COUNTS = {"trials": 10, "done": 2}


def job(key: str, cell: str = "c", **labels: object) -> Job:
    return Job(key, cell, ord(key), {}, labels=dict(labels))


def looking(key: str, trial: str = "a") -> Job:
    return Job(key, "c", 0, {}, parent=trial, evaluation={"name": "e", "label": "mine"})


def scored(key: str, value: float) -> Outcome:
    return Outcome(key, "completed", best={"val.accuracy": value})


@pytest.fixture
def progress() -> Progress:
    """Ten trials of which two were done before; two cells, one trial failed, one runs."""
    told = Progress("s", COUNTS, Metric())
    for key, cell, value in (("a", "c", 0.5), ("b", "c", 0.7), ("d", "e", 0.65)):
        told.started(job(key, cell, **{"method.p": cell}))
        told.finished(job(key, cell), scored(key, value))
    told.started(job("f"))
    told.finished(job("f"), Outcome("f", "failed", "out of memory"))
    told.started(job("g"))
    return told


def test_counts(progress: Progress) -> None:
    shown = progress.snapshot()
    assert {k: shown[k] for k in ("done", "running", "failed", "trials")} == {
        "done": 5, "running": 1, "failed": 1, "trials": 10,
    }  # fmt: skip
    assert shown["failures"] == {"out of memory": 1}
    json.loads(progress.json())


def test_waiting_with_evaluations_that_were_not_planned() -> None:
    """A search plans the evaluations of cells of before, not those of its cells to come."""
    told = Progress("s", {"trials": 3, "done": 0}, Metric(), Evaluated((looking("p"),), {"p": "waits"}))
    for one in (job("a"), looking("e")):
        told.started(one)
        told.finished(one, scored(one.key, 0.5))
    assert told.waiting() == 3, "two trials and the planned evaluation"
    told.started(job("b"))
    assert told.waiting() == 2
    told.started(looking("f", "b"))
    assert told.waiting() == 2
    told.started(looking("p"))
    assert told.waiting() == 1
    told.again(looking("p"), Outcome("p", "again"))
    assert told.waiting() == 2
    told.finished(looking("p"), scored("p", 0.5))
    assert told.waiting() == 1


@pytest.mark.parametrize(
    ("aside", "elsewhere", "waiting"),
    [
        ([], 0, 6),
        ([job("a")], 1, 3),
        ([job("a"), job("b")], 2, 1),
        ([looking("ea")], 0, 5),
        ([looking("other")], 0, 6),
        ([job("b"), looking("ea")], 1, 3),
    ],
)
def test_what_another_driver_runs_is_counted_by_kind(aside: list[Job], elsewhere: int, waiting: int) -> None:
    """Three trials, two evaluations of the first and one of the second; none of these can begin elsewhere."""
    looks = Evaluated(
        (looking("ea"), looking("fa"), looking("eb", "b")), {"ea": "waits", "fa": "failed", "eb": "waits"}
    )
    told = Progress("s", {"trials": 3, "done": 0}, Metric(), looks)
    told.aside = {one.key: one for one in aside}
    assert told.waiting() == waiting
    counted = told.snapshot()["states"]
    assert (counted["elsewhere"], counted["waiting"]) == (elsewhere, 3 - elsewhere)


def test_what_other_drivers_run_changes_while_it_is_counted() -> None:
    """The pulse counts in its own thread what the dispatcher puts aside and takes back."""
    aside: dict[str, Job] = {}

    class Moving(Job):
        def __getattribute__(self, name: str) -> Any:
            aside.setdefault("b", job("b"))  # the dispatcher's turn
            return super().__getattribute__(name)

    told = Progress("s", {"trials": 3, "done": 0}, Metric())
    told.aside, moving = aside, Moving("a", "c", 0, {})
    told.trains = False
    for count in (told.counted, told.waiting):
        aside.clear()
        aside["a"] = moving
        count()
        assert set(aside) == {"a", "b"}


def test_the_best_cell_is_by_the_mean_over_seeds(progress: Progress) -> None:
    (best,) = progress.top(1)
    assert (best["labels"], best["mean"], best["seeds"]) == ({"method.p": "e"}, 0.65, 1)
    lowest = Progress("s", COUNTS, Metric(name="val.accuracy", mode="min"))
    for key, cell, value in (("a", "c", 0.5), ("b", "e", 0.7)):
        lowest.started(job(key, cell))
        lowest.finished(job(key, cell), scored(key, value))
    assert lowest.top(1)[0]["mean"] == 0.5


def test_eta_leaves_the_start_out(progress: Progress, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Progress("s", COUNTS, Metric()).eta() is None
    progress.first_start = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: 145.0)
    # 4 ended and half of a running one in 45 s: 10 s each; 10 - 5 done - 1 failed - 0.5 are left
    assert progress.eta() == pytest.approx(35.0)


def test_evaluations_are_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Evaluated(
        tuple(map(looking, "defg")), {"d": "completed", "e": "waits", "f": "waits", "g": "waits"}
    )
    told = Progress("s", COUNTS, Metric(), asked)
    for one, status in ((looking("e"), "completed"), (looking("f"), "failed")):
        told.started(one)
        told.finished(one, Outcome(one.key, status, "error" if status == "failed" else None))  # type: ignore[arg-type]
    shown = told.snapshot()
    assert (shown["done"], shown["failed"]) == (2, 0)
    assert shown["evaluations"] == {"evaluations": 4, "done": 2, "failed": 1, "impossible": 0}
    assert "2/4 evaluations (1 failed)" in line(told.snapshot())
    told.trains, told.first_start = False, 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: 110.0)
    assert told.eta() == pytest.approx(5.0), "two of three evaluations in 10 s; trials are not run"


def test_line_and_view_say_the_same(progress: Progress) -> None:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(View(progress.snapshot()))
    for text in (line(progress.snapshot()), captured.get()):
        for part in ("5/10", "1 running", "1 failed", "0.6500", "p=e"):
            assert part in text


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ({}, "base trial"),
        ({"method.p": 0.123456, "method.epsilon": 3}, "p=0.1235 epsilon=3"),
        ({"point": "DropAttack", "data.train_size": 100}, "DropAttack train_size=100"),
        ({"a.p": 1, "b.p": 2}, "a.p=1 b.p=2"),
    ],
)
def test_words(labels: dict[str, object], text: str) -> None:
    assert words(labels) == text


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (5, "0:05"), (65.4, "1:05"), (3671, "1:01:11")])
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_pulse_writes_and_hears(progress: Progress, tmp_path: Path) -> None:
    store = Store(tmp_path)
    heard: list[bool] = []
    store.put("sweeps/s/stop", b"")
    pulse = Pulse(progress, store, "sweeps/s/stop", lambda: heard.append(True), None)
    pulse.start()
    while not heard:
        pulse.ended.wait(0.05)
    pulse.close()
    content = store.get("sweeps/s/progress.json")
    assert content is not None
    assert json.loads(content)["done"] == 5


def test_pulse_tells_listeners_and_is_not_held_up_by_a_cluster_that_hangs(
    progress: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, told = threading.Event(), threading.Event()
    monkeypatch.setattr(pulse_module, "GAUGE_SECONDS", 0.0)
    monkeypatch.setattr(pulse_module, "resources", lambda: released.wait(30))

    class Listener:
        def progress(self, progress: Progress) -> None:
            told.set()

    pulse = Pulse(progress, Store(tmp_path), "sweeps/s/stop", lambda: None, None, [Listener()])
    pulse.start()
    assert told.wait(10)
    start = time.monotonic()
    pulse.close()
    assert time.monotonic() - start < 3
    released.set()


def test_resources_are_those_of_ray_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SimpleNamespace(
        is_initialized=lambda: True,
        cluster_resources=lambda: {"CPU": 4.0, "memory": 1e9, "GPU": 0.0},
        available_resources=lambda: {"memory": 1e9},
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert pulse_module.resources() == {"CPU": (4.0, 4.0)}
    ray.is_initialized = lambda: False
    assert pulse_module.resources() == {}
    monkeypatch.delitem(sys.modules, "ray")
    assert pulse_module.resources() == {}


def test_what_was_pruned_before_is_not_done() -> None:
    progress = Progress("s", {"trials": 9, "done": 6, "diverged": 1, "pruned": 2}, Metric())
    progress.finished(Job("k", "c", 0, {}), Outcome("k", "pruned"))
    counted = {name: count for name, count in progress.counted().items() if count}
    assert counted == {"waiting": 2, "done": 3, "diverged": 1, "pruned": 3}
    assert (progress.done, progress.pruned) == (4, 3)
