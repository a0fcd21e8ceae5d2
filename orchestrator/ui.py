"""MLflow's pages on a store."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from engine.errors import InputError
from orchestrator.records.store import Store
from orchestrator.tracking.mlflow_store import default_artifacts, default_uri


def serve(store: Store, host: str, port: int) -> NoReturn:
    """Become MLflow's server on the embedded store, so that a signal ends the server itself.

    One worker and no job runner: two processes in place of fifteen.

    Raises:
        InputError: the store has no MLflow file.
    """
    if store.local is None or not (store.local / "mlflow.db").is_file():
        raise InputError("store", store.location, "a local store in which a sweep was tracked")
    command = [
        sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", host, "--port", str(port),
        "--backend-store-uri", default_uri(store.local),
        "--default-artifact-root", default_artifacts(store.local),
    ]  # fmt: skip
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    os.execve(sys.executable, command, {**os.environ, **environment})
