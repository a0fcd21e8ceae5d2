"""The store full or read-only for a while: a small filesystem in memory is filled, permissions are taken."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.orchestrator.chaos.drivers import Driver, lines, rows_of, sweep_file, until, verified

pytestmark = pytest.mark.slow


class Disk:
    """The folder ``results``: a filesystem of 16 MB, where one can be mounted."""

    def __init__(self, folder: Path, mounted: bool) -> None:
        self.folder, self.mounted = folder, mounted

    def full(self) -> None:
        """Take every byte that is left."""
        if not self.mounted:
            pytest.skip("no filesystem can be mounted here")
        with (self.folder / "ballast").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def read_only(self) -> None:
        """Nothing can be made, replaced or removed; drivers heed it though they are root."""
        for folder, _, _ in os.walk(self.folder):
            os.chmod(folder, 0o555)

    def well(self) -> None:
        """As it was."""
        for folder, _, _ in os.walk(self.folder):
            os.chmod(folder, 0o755)
        (self.folder / "ballast").unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder, mounted = tmp_path / "results", False
    folder.mkdir()
    with suppress(FileNotFoundError):
        words = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=755", "tmpfs", str(folder)]
        mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    yield (one := Disk(folder, mounted))
    one.well()
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def sweep(folder: Path, seeds: int = 3) -> str:
    """Trials that report, checkpoint and end while the store is away."""
    began = f"log:{folder}/began"
    scripts = {
        "kept": [began, "report:0.3", "sleep:0.5", "checkpoint", "sleep:0.5", "report:0.5"],
        "short": [began, "report:0.2", "sleep:1", "report:0.4"],
    }
    return sweep_file(folder, scripts, seeds=seeds)


@pytest.mark.parametrize(("trouble", "dispatcher"), [("read_only", "--local"), ("full", "--cpus=2")])
def test_an_outage_costs_nothing_but_time(tmp_path: Path, disk: Disk, dispatcher: str, trouble: str) -> None:
    file = sweep(tmp_path)
    with Driver(tmp_path, "run", file, dispatcher) as driver:
        until(lambda: len(lines(tmp_path / "began")) > 1, driver)
        getattr(disk, trouble)()
        time.sleep(5)  # so long is the outage
        before = len(rows_of(tmp_path))
        assert driver.process.is_alive(), driver.text
        disk.well()
        assert driver.wait() == 0, driver.text
    assert before < 6
    assert "Traceback" not in driver.text
    assert {row.attempts for row in rows_of(tmp_path).values()} == {1}
    with Driver(tmp_path, "track", file) as track:
        assert track.wait() == 0, track.text
    verified(tmp_path, file)


@pytest.mark.parametrize("dispatcher", ["--local", "--cpus=2"])
def test_a_signal_while_the_store_is_read_only(tmp_path: Path, disk: Disk, dispatcher: str) -> None:
    file = sweep(tmp_path)
    with Driver(tmp_path, "run", file, dispatcher) as driver:
        until(lambda: len(lines(tmp_path / "began")) > 1, driver)
        disk.read_only()
        driver.signal(signal.SIGTERM)
        time.sleep(2)  # so long after it the store is back
        disk.well()
        assert driver.wait() == 75, driver.text
    assert "Traceback" not in driver.text
    assert "stopped on request" in driver.text
    with Driver(tmp_path, "run", file, dispatcher) as driver:
        assert driver.wait() == 0, driver.text
    verified(tmp_path, file)


def test_a_sweep_is_not_begun_on_a_store_that_refuses(tmp_path: Path, disk: Disk) -> None:
    file = sweep(tmp_path)
    disk.read_only()
    with Driver(tmp_path, "run", file, "--local") as driver:
        assert driver.wait() == 2
    assert "Traceback" not in driver.text
    assert len(driver.text.splitlines()) <= 2, driver.text
    assert os.listdir(disk.folder) == []
