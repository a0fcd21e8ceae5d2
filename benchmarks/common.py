"""What the benchmarks share: arguments, facts about the machine, statistics, the table, the JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

QUIET = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_TRAIN_V2_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "OMP_NUM_THREADS": "1",
}
"""Environment of the measured processes: a local Ray without tokens or log files, a thread a worker."""

Number = int | float


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the script's docstring, with ``--out``."""
    found = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file")
    return found


def machine(packages: Iterable[str], device: str = "cpu") -> dict[str, Any]:
    """Where the measurement was made: processor, cores, load, versions, commit, date."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "device": device,
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": [round(x, 2) for x in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "commit": _commit(),
    }


def summary(values: Sequence[float]) -> dict[str, Number]:
    """Median, quartiles, extremes and number of some values."""
    middle = statistics.median(values)
    low, high = middle, middle
    if len(values) > 1:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": middle, "q1": low, "q3": high, "min": min(values), "max": max(values), "n": len(values)}


def shown(values: Mapping[str, Number], digits: int = 2) -> str:
    """A summary in a cell of a table: the median and the quartiles."""
    return f"{values['median']:.{digits}f} ({values['q1']:.{digits}f} to {values['q3']:.{digits}f})"


def verdict(value: float, target: float) -> str:
    """Whether a value that should be small is."""
    return f"<= {target:g}: {'met' if value <= target else 'missed'}"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; numbers stand to the right."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(*columns, title=title, title_justify="left")
    for column in drawn.columns[1:]:
        column.justify = "right"
    for row in rows:
        drawn.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 120).print(drawn)


def finish(out: Path, name: str, facts: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Print the facts of the machine and write ``<out>/<name>.json``."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.json"
    path.write_text(json.dumps({"benchmark": name, "machine": facts, **results}, indent=1) + "\n")
    versions = ", ".join(f"{package} {number}" for package, number in facts["versions"].items())
    print(f"{facts['device']}; {facts['cpu']}, {facts['cores']} cores, load {facts['load'][0]} at the start")
    print(f"Python {facts['python']}, {versions}; commit {facts['commit'] or 'unknown'}; {facts['date']}")
    print(f"wrote {path}")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _commit() -> str:
    def git(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return ""
