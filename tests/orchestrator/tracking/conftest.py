"""An MLflow database of one's own in a moment: its tables are made once, and copied."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.tracking import mlflow_store
from orchestrator.tracking.mlflow_store import Client, default_artifacts, default_uri


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in mlflow_store.PATIENCE.items():
            patch.setenv(name, value)
        folder = tmp_path_factory.mktemp("tables")
        Client(default_uri(folder)).experiment("first")
    return folder / "mlflow.db"


@pytest.fixture
def place(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Address and artifact folder of an empty store."""
    for name, value in mlflow_store.PATIENCE.items():
        monkeypatch.setenv(name, value)
    shutil.copy(tables, tmp_path / "mlflow.db")
    return default_uri(tmp_path), default_artifacts(tmp_path)
