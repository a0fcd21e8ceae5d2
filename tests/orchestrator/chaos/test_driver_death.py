"""Kill -9 of the driver at any moment, and the same command again: all is done once, nothing is lost."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.orchestrator.chaos.drivers import Driver, lines, rows_of, starts, sweep_file, until, verified

SEEDS = 6
HERE = ["start", "start", "first trial", "midway", "midway", "midway", "end"]
ON_RAY = ["first trial", "midway", "end"]

pytestmark = pytest.mark.slow


def scripts(folder: Path) -> dict[str, list[str]]:
    """Two cells: one that checkpoints midway, one that does not."""
    began = f"log:{folder}/began"
    return {
        "kept": [began, "report:0.3", "checkpoint", "sleep:0.1", "report:0.5"],
        "short": [began, "report:0.2", "sleep:0.05", "report:0.4"],
    }


def come(moment: str, folder: Path, driver: Driver, before: int) -> bool:
    """Wait for the beginning of a phase of a run; False where the run is over before it."""
    began = folder / "began"
    reached = {
        "start": lambda: driver.process.is_alive(),
        "first trial": lambda: len(lines(began)) > before,
        "midway": lambda: len(lines(began)) > before + 2,
        "end": lambda: len(list((folder / "results/ledger").rglob("*.parquet"))) == 2 * SEEDS,
    }[moment]
    return until(reached, driver)


@pytest.mark.parametrize(
    ("dispatcher", "seed", "moments"),
    [("--local", 1, HERE), ("--local", 2, HERE), ("--local", 3, HERE), ("--cpus=2", 4, ON_RAY)],
)
def test_twenty_kills_and_more(tmp_path: Path, dispatcher: str, seed: int, moments: list[str]) -> None:
    """From the start of the process to the reports at the end; the next run follows at once."""
    chance, spread = random.Random(seed), {"start": 1.0}
    file = sweep_file(tmp_path, scripts(tmp_path), seeds=SEEDS)
    done: dict[str, int] = {}
    kills = 0
    for moment in moments:
        with Driver(tmp_path, "run", file, dispatcher) as driver:
            come(moment, tmp_path, driver, len(lines(tmp_path / "began")))
            time.sleep(chance.uniform(0, spread.get(moment, 0.2)))
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
