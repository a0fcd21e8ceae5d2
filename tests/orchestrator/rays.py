"""Scripts that start a Ray of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def output(script: str, *arguments: object) -> str:
    """What a script prints that starts a Ray of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT, env=os.environ | {"RAY_AUTH_MODE": "disabled"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
