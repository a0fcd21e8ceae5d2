"""A real MLflow server that is killed in the middle of a sweep, and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator import api
from orchestrator.driver import run
from orchestrator.options import Options
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.tracking import tracker
from orchestrator.tracking.mlflow_store import PATIENCE
from orchestrator.tracking.track import track
from orchestrator.tracking.tracker import Tracker
from tests.orchestrator.sweeps import scripted
from tests.orchestrator.tracking.test_outages import METRIC, POINTS, SEEDS, check, tell

Make = Callable[..., Row]


class Server:
    """MLflow's server on loopback, with one worker."""

    def __init__(self, uri: str, artifacts: str, log: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self.port}"
        self.words = [
            sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1",
            "--port", str(self.port), "--backend-store-uri", uri, "--default-artifact-root", artifacts,
        ]  # fmt: skip
        self.log = log

    def start(self) -> None:
        environment = os.environ | PATIENCE | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.words, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + 90
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        """Server and workers at once: kill -9 of the group that was started for it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back(
    place: tuple[str, str], tmp_path: Path, make_row: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "PAUSE", 0.5)
    rows = [make_row(f"c{p}", seed, 0.9, epochs=4) for p in (0, 1) for seed in SEEDS]
    server = Server(*place, tmp_path / "server.log")
    server.start()
    try:
        told = Tracker(server.uri, None, "killed", POINTS, METRIC, SEEDS)
        tell(told, rows[:1])
        until = time.monotonic() + 60
        while not (told._book and told._book.trials) and time.monotonic() < until:
            time.sleep(0.01)
        server.kill()
        start = time.monotonic()
        tell(told, rows[1:])
        assert time.monotonic() - start < 1
        told.complete(POINTS, rows)
        assert not told.close(10)
        assert time.monotonic() - start < 15
        assert told.problem.startswith(f"MLflow at {server.uri}")
        told._thread.join(60)

        server.start()
        for _ in range(2):
            track(server.uri, None, "killed", POINTS, rows, METRIC, SEEDS)
            check(server.uri, "killed", rows)
    finally:
        server.kill()


@pytest.mark.slow
def test_a_sweep_whose_server_dies(
    place: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs the run nothing but a line; `perturb track` completes the record, whenever it is called."""
    monkeypatch.setattr(tracker, "PAUSE", 0.5)
    script = ["report:0.3", "sleep:0.5", "report:0.5"]
    sweep, store, out = (
        scripted(script, [*script[:-1], "report:0.4"], seeds=2),
        tmp_path / "store",
        StringIO(),
    )
    server = Server(*place, tmp_path / "server.log")
    server.start()

    def kill() -> None:
        while len(list(store.glob("logs/*"))) < 2:
            time.sleep(0.01)
        server.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        options = Options(str(store), local=True, uri=server.uri)
        ended = run(sweep, options, Console(file=out, width=300))
        killer.join()
        assert (ended.exit_code, ended.counts["done"]) == (0, 4)
        assert out.getvalue().count("MLflow lacks part of the record") == 1
        assert "Traceback" not in out.getvalue()
        server.start()
        rows = Ledger(Store(store)).read(Ledger(Store(store)).index())
        for _ in range(2):
            api.track(sweep, str(store), server.uri)
            check(server.uri, sweep.name, rows)
    finally:
        server.kill()
