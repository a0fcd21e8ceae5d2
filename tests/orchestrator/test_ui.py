from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from orchestrator.tracking.mlflow_store import Client, default_artifacts, default_uri


@pytest.mark.slow
def test_the_pages_answer_and_end_with_the_command(tmp_path: Path) -> None:
    Client(default_uri(tmp_path), default_artifacts(tmp_path)).experiment("s")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "orchestrator.cli", "ui", "--store", str(tmp_path), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            assert answers(f"http://127.0.0.1:{port}/health", 90)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
    assert not answers(f"http://127.0.0.1:{port}/health", 1)


def answers(url: str, seconds: float) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            with urllib.request.urlopen(url, timeout=2) as page:
                return bool(page.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
    return False
