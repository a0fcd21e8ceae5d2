"""Where a number came from: versions, commit, device, host, time."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "torchvision", "numpy", "pyarrow", "ray", "optuna", "tokenizers", "scikit-learn")


@cache
def versions() -> dict[str, str]:
    """Versions of Python, of the packages that decide results, and of this one."""
    found = {"python": platform.python_version()}
    for package in ("perturb-sweeps", *PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # the engine alone runs without the cluster's packages
    return found


def git_commit(folder: Path) -> str:
    """Commit of the working tree that holds a folder, ``+`` appended when it has changes; else empty."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def now() -> str:
    """The time, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def device_name(gpu: bool) -> str:
    """What a trial runs on, in words."""
    if gpu:
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    return f"cpu ({platform.processor() or platform.machine()})"


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
