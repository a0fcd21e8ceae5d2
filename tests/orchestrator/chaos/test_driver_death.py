"""Kill -9 of the driver at any moment, and the same command again: all is done once, nothing is lost."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.orchestrator.chaos.drivers import Driver, lines, rows_of, starts, sweep_file, until, verified

SEEDS = 7
HERE = ["start", "start", "first trial", "midway", "midway", "midway", "end", "report"]
ON_RAY = ["start", "lock", "first trial", "first row", "midway", "midway", "end", "report"]
SPREAD = {"start": 1.0, "end": 0.05, "report": 0.0}
"""Seconds of a phase in which the kill comes, where they are not 0.2."""

pytestmark = pytest.mark.slow


def scripts(folder: Path) -> dict[str, list[str]]:
    """Two cells: one that checkpoints midway, one that does not."""
    began = f"log:{folder}/began"
    return {
        "kept": [began, "report:0.3", "checkpoint", "sleep:0.1", "report:0.5"],
        "short": [began, "report:0.2", "sleep:0.05", "report:0.4"],
    }


def written(folder: Path) -> int:
    """How many rows there are."""
    return len(list((folder / "results/ledger").rglob("*.parquet")))


def holder(file: Path) -> int | None:
    """The process that has the sweep, or had it when it died."""
    with contextlib.suppress(FileNotFoundError):
        return int(json.loads(file.read_text())["pid"])
    return None


def come(moment: str, folder: Path, driver: Driver) -> bool:
    """Wait for the beginning of a phase of a run; False where the run is over before it."""
    began, sweep, now = folder / "began", folder / "results/sweeps/s", time.time()
    before, rows = len(lines(began)), written(folder)
    reached = {
        "start": lambda: driver.process.is_alive(),
        "lock": lambda: holder(sweep / "driver.json") == driver.pid,
        "first trial": lambda: len(lines(began)) > before,
        "first row": lambda: written(folder) > rows,
        "midway": lambda: len(lines(began)) > before + 2,
        "end": lambda: written(folder) == 2 * SEEDS,
        "report": lambda: any(path.stat().st_mtime > now for path in sweep.glob("report/[!.]*")),
    }[moment]
    return until(reached, driver)


@pytest.mark.parametrize(
    ("dispatcher", "seed", "moments"), [("--local", 1, HERE), ("--local", 2, HERE), ("--cpus=2", 3, ON_RAY)]
)
def test_twenty_kills_and_more(tmp_path: Path, dispatcher: str, seed: int, moments: list[str]) -> None:
    """From the start of the process to the reports at the end; the next run follows at once."""
    chance = random.Random(seed)
    file = sweep_file(tmp_path, scripts(tmp_path), seeds=SEEDS)
    done: dict[str, int] = {}
    kills = 0
    for moment in moments:
        with Driver(tmp_path, "run", file, dispatcher) as driver:
            come(moment, tmp_path, driver)
            time.sleep(chance.uniform(0, SPREAD.get(moment, 0.2)))
            kills += driver.kill()
            began = starts(tmp_path / "began")
            assert {key: began[key] for key in done} == done, "what was done has not been started again"
            done = {key: began[key] for key in rows_of(tmp_path)}
    assert kills >= len(moments) - 1, "one may have been over before its kill"
    with Driver(tmp_path, "run", file, dispatcher) as driver:
        assert driver.wait() == 0, driver.text
    began = starts(tmp_path / "began")
    assert {key: began[key] for key in done} == done
    rows = verified(tmp_path, file)
    assert set(began) == {row.key for row in rows}
    assert sum(began.values()) <= 2 * SEEDS + 2 * len(moments), "only what was under way began again"
    history = Counter(tuple(epoch["val.accuracy"] for epoch in row.history) for row in rows)
    assert history == {(0.3, 0.5): SEEDS, (0.2, 0.4): SEEDS}


def test_workers_end_with_their_driver_and_one_that_ends_late_does_no_harm(tmp_path: Path) -> None:
    """An orphan trains on until Ray ends it; the next driver meets it, or the row that it has written."""
    script = [f"log:{tmp_path}/began", "report:0.3", "sleep:1.5", "report:0.5"]
    file = sweep_file(tmp_path, {"a": script, "b": script[1:]}, seeds=3)
    with Driver(tmp_path, "run", file, "--cpus=2") as driver:
        until(lambda: lines(tmp_path / "began"), driver)
        driver.kill()
        assert driver.workers(), "they live on for a moment"
        with Driver(tmp_path, "run", file, "--local") as other:
            assert other.wait() == 0, other.text
        until(lambda: not driver.workers())
    verified(tmp_path, file)
