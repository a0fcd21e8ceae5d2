"""MLflow's database is there whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from orchestrator.tracking import tables
from orchestrator.tracking.mlflow_store import Client, default_uri


def make(folder: Path) -> None:
    Client(default_uri(folder)).experiment("first")


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # a journal
        return 0


@pytest.mark.slow
def test_a_driver_that_dies_while_it_is_made_leaves_no_half(tmp_path: Path) -> None:
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["orchestrator.tracking.mlflow_store", "mlflow"])
    process = forks.Process(target=make, args=(tmp_path,))
    process.start()
    ends = time.monotonic() + 60
    while not any(size_of(p) > 20_000 for p in tmp_path.iterdir()) and time.monotonic() < ends:
        time.sleep(0.001)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "mlflow.db").exists()
    make(tmp_path)
    assert (tmp_path / "mlflow.db").stat().st_size > 100_000


def test_of_two_that_make_it_the_first_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, link = tmp_path / "mlflow.db", os.link

    def late(part: Path, there: Path) -> None:
        there.write_bytes(b"of the other")
        link(part, there)

    Client(default_uri(tmp_path / "elsewhere"))  # MLflow's import, made quiet
    monkeypatch.setattr(os, "link", late)
    tables.make(path)
    assert path.read_bytes() == b"of the other"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["mlflow.db"]
