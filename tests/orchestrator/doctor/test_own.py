"""The driver's own checks, on real data, stores and closed ports."""

from __future__ import annotations

import socket
import sqlite3
from pathlib import Path

import pytest

from orchestrator.doctor import own
from orchestrator.doctor.checks import fingerprint
from orchestrator.driver import run
from orchestrator.options import Options
from orchestrator.records.store import Store
from orchestrator.sweepfile.parts import Resources
from tests.orchestrator.sweeps import TRIAL, sweep_of


def test_data_are_found_and_not_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURB_CACHE", str(tmp_path))
    cells = own.cells_of(sweep_of())
    files, (result,) = own.check_driver_data(cells)
    assert (files, result.status) == ((), "ok")
    assert not any(tmp_path.iterdir())

    from engine.data.store import open_data

    open_data(cells[0].trial.data)
    (file,), (result,) = own.check_driver_data(cells)
    path = tmp_path / "data" / file.name
    assert (file.size, file.content) == (path.stat().st_size, fingerprint(path))
    assert result.found.startswith("digits ")
    assert own.check_driver_data([]) == ((), [])


def test_data_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURB_CACHE", str(tmp_path))
    monkeypatch.setenv("PERTURB_DATA", str(tmp_path))
    sweep = sweep_of(trial=TRIAL | {"data": "mnist", "model": "lenet5"})
    _, (result,) = own.check_driver_data(own.cells_of(sweep))
    assert (result.status, "mnist" in result.found) == ("fail", True)
    assert "perturb data" in result.remedy


def test_files_that_trials_read_by_path(tmp_path: Path) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("the 0.1 0.2\n")
    model = {"name": "textcnn", "embedding_dim": 2, "vectors": str(vectors)}
    trial = {"data": "synthetic_text", "model": model, "method": "standard", "epochs": 1}
    sweep = sweep_of(trial=trial, axes={"optimizer.lr": [0.1, 0.2]}, reports=[])
    assert own.files_of(own.cells_of(sweep)) == [vectors]
    assert own.files_of(own.cells_of(sweep_of())) == []


def test_room_for_checkpoints_is_known_from_those_that_lie_there(tmp_path: Path) -> None:
    store, sweep = Store(tmp_path), sweep_of(keep="last")
    assert own.checkpoint_bytes(sweep, store) == 0
    first = sweep_of(keep="last", axes={"method.epsilon": [1], "method.p": [0.5]})
    run(first, Options(str(tmp_path), local=True, track=False))
    (folder,) = (tmp_path / "checkpoints").iterdir()
    taken = sum(file.stat().st_size for file in folder.iterdir())
    assert own.checkpoint_bytes(sweep, store) == 2 * taken > 0
    assert own.checkpoint_bytes(first, store) == 0, "nothing is left to do"
    assert own.checkpoint_bytes(sweep_of(), store) == 0, "it keeps none"
    assert own.checkpoint_bytes(sweep, Store("memory://x")) == 0


def test_mlflow_of_a_local_store_is_writable_and_not_made(tmp_path: Path) -> None:
    result = own.check_tracking(Store(tmp_path / "store"), None)
    assert (result.status, "mlflow.db" in result.found) == ("ok", True)
    assert not any((tmp_path / "store").iterdir())


def test_mlflow_whose_file_is_held_or_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "LOCK_SECONDS", 0.05)
    file = tmp_path / "mlflow.db"
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("CREATE TABLE t (x)")
    holder.execute("BEGIN EXCLUSIVE")
    assert "locked" in own.check_tracking(Store(tmp_path), None).found
    holder.execute("COMMIT")
    holder.close()
    file.write_bytes(b"no database" * 1000)
    result = own.check_tracking(Store(tmp_path), None)
    assert (result.status, "not a database" in result.found) == ("fail", True)


def test_mlflow_on_a_closed_port_is_told_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = own.check_tracking(Store(tmp_path), f"http://anna:secret@127.0.0.1:{port}")
    assert (result.status, f"127.0.0.1:{port}" in result.found) == ("fail", True)
    assert "secret" not in result.found
    assert "--no-track" in result.remedy


def test_a_remote_store_needs_a_server() -> None:
    result = own.check_tracking(Store("memory://x"), None)
    assert (result.status, "MLFLOW_TRACKING_URI" in result.remedy) == ("fail", True)


def test_resources() -> None:
    nodes = [{"CPU": 2.0, "GPU": 1.0}, {"CPU": 2.0}]
    assert own.check_fit(Resources(workers=4), nodes).status == "ok"
    result = own.check_fit(Resources(gpus=1, workers=2), nodes)
    assert (result.status, result.found) == ("fail", "resources.gpus: 1 for each of 2 workers")


@pytest.mark.parametrize(("mode", "status"), [(None, "warn"), ("disabled", "ok"), ("token", "ok")])
def test_authentication_is_chosen_on_purpose(mode: str | None, status: str) -> None:
    assert own.check_authentication({"RAY_AUTH_MODE": mode} if mode else {}).status == status
