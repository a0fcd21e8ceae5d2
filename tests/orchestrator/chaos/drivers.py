"""The command ``perturb`` in processes of its own, which tests kill, and what must hold afterwards.

Each is forked from one process that has imported what a driver imports, so that a run costs its work and no
imports; what runs in it is the command line itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from orchestrator import api
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.tracking.mlflow_store import Client
from tests.orchestrator.sweeps import PLUGINS
from tests.orchestrator.tracking.test_outages import check

PATIENCE = 180.0
"""Seconds that an event is waited for; what is fast alone may be slow on a machine that is shared."""

_PRELOADED = [
    "orchestrator.cli", "orchestrator.driver", "orchestrator.dispatch.searcher", "engine.models.lenet5",
    "orchestrator.dispatch.trainable", "orchestrator.tracking.tracker", "orchestrator.reports",
    "engine.train", "ray.tune", "mlflow", "rich.live",
]  # fmt: skip

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(_PRELOADED)


class Driver:
    """``perturb WORDS`` in a folder, its output in a file; a context manager, which kills what is left."""

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        self.output = folder / f"output-{time.monotonic_ns()}.txt"
        settings = {"PERTURB_STORE": "results", "COLUMNS": "200", **environment}
        root = str(Path(__file__).parents[3])
        settings["PYTHONPATH"] = root
        self.process = _forks.Process(target=_perturb, args=(folder, words, settings, self.output))
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid
        self.family: dict[int, psutil.Process] = {}

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.is_alive():
            self.kill()
        for one in self.family.values():  # what Ray leaves: its agents end by themselves after a minute
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.output.read_text() if self.output.exists() else ""

    def descendants(self) -> list[psutil.Process]:
        """The processes that it has started, and theirs; remembered when it is gone."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.family |= {one.pid: one for one in psutil.Process(self.pid).children(recursive=True)}
        return [one for one in self.family.values() if one.is_running()]

    def kill(self) -> bool:
        """Kill -9 of the driver alone; False where it has ended already."""
        self.descendants()
        if self.process.exitcode is None:
            os.kill(self.pid, signal.SIGKILL)  # not yet waited for: the pid is no other's
        self.process.join(PATIENCE)
        return self.process.exitcode == -signal.SIGKILL

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code, once it has ended."""
        ends = time.monotonic() + seconds
        while self.process.exitcode is None and time.monotonic() < ends:
            self.descendants()
            self.process.join(0.2)
        assert self.process.exitcode is not None, f"it runs still: {self.text}"
        return self.process.exitcode

    def workers(self) -> list[psutil.Process]:
        """The processes of Ray that run its trials, those that outlive it included."""
        return [one for one in self.descendants() if _name(one).startswith(("ray::Impl", "ray::Rank"))]


def _name(process: psutil.Process) -> str:
    try:
        return process.name() if process.status() != psutil.STATUS_ZOMBIE else ""
    except psutil.NoSuchProcess:
        return ""


def _heed_permissions() -> None:
    """Root too may then not write where it has no permission, nor may the processes that it starts."""
    if os.geteuid() != 0:
        return
    libc, header = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, of the first 32 and the others
    assert libc.capget(header, sets) == 0
    for i in range(3):
        sets[i] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    assert libc.prctl(24, 1, 0, 0, 0) == libc.prctl(24, 2, 0, 0, 0) == 0  # PR_CAPBSET_DROP
    assert libc.capset(header, sets) == 0


def _perturb(folder: Path, words: Sequence[str], settings: dict[str, str], output: Path) -> None:
    _heed_permissions()
    os.chdir(folder)
    os.environ.update(settings)
    with output.open("w", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.argv = ["perturb", *words]
        from orchestrator import cli

        cli.main()


@contextlib.contextmanager
def cluster(
    script: str, folder: Path, *words: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a script which starts a cluster, says so, and ends it at the end of its input.

    Args:
        folder: that it runs in. words: for the script. env: its environment; ours with our packages if None.
    """
    settings = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])} if env is None else env
    with subprocess.Popen(
        [sys.executable, "-c", script, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=settings, cwd=folder,
    ) as process:  # fmt: skip
        yield process
        process.communicate("", timeout=120)


def sweep_file(folder: Path, scripts: dict[str, list[str]], name: str = "s", **blocks: Any) -> str:
    """A sweep file of scripted trials (YAML takes JSON), a point for each script; returns its name."""
    (folder / "scripted.py").write_bytes((PLUGINS / "scripted.py").read_bytes())
    model = {"name": "scripted"}
    content: dict[str, Any] = {
        "name": name,
        "trial": {"data": "digits", "model": model, "method": "standard", "epochs": 1},
        "points": {point: {"model": model | {"script": script}} for point, script in scripts.items()},
        "plugins": ["scripted.py"],
        "reports": [{"table": "points"}],
    }
    (folder / f"{name}.yaml").write_text(json.dumps(content | blocks))
    return f"{name}.yaml"


def until(what: Callable[[], object], driver: Driver | None = None, seconds: float = PATIENCE) -> bool:
    """Wait for something; False where the driver ended before it.

    Raises:
        AssertionError: it has not come.
    """
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if what():
            return True
        if driver is not None and driver.process.exitcode is not None:
            return bool(what())
        time.sleep(0.01)
    raise AssertionError(f"waited in vain: {driver.text if driver else what}")


def lines(path: Path) -> list[list[str]]:
    """The words of each line that the script's ``log`` has written; none before the first."""
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def starts(path: Path) -> Counter[str]:
    """How often ``log`` was passed, by key."""
    return Counter(words[0] for words in lines(path))


def rows_of(folder: Path) -> dict[str, Row]:
    """Rows of the store ``results`` by key."""
    ledger = Ledger(Store(folder / "results"))
    return {row.key: row for row in ledger.read(ledger.index())}


def files_under(folder: Path, *names: str) -> list[Path]:
    """Files that lie in folders of the store ``results``."""
    found: Iterator[Path] = (p for name in names for p in (folder / "results" / name).rglob("*"))
    return sorted(p for p in found if p.is_file() and not p.name.startswith("."))


def verified(folder: Path, file: str, tracked: bool = True) -> list[Row]:
    """The rows of a sweep that is over, after a look at all that it must leave and must not.

    Args:
        folder: of the sweep file and the store. file: a sweep of two cells. tracked: whether MLflow holds it.
    """
    store = str(folder / "results")
    sweep = api.load(folder / file)
    jobs = api.plan(sweep, store).jobs
    found = rows_of(folder)
    assert {key: row.status for key, row in found.items()} == {job.key: "completed" for job in jobs}
    copies = [p.stem for p in (folder / "results/ledger/trials").rglob("*.parquet")]
    assert sorted(copies) == sorted(found), "a key has one row"
    report = api.ledger_verify(store)
    assert (report.trials, report.damaged) == (len(jobs), [])
    assert files_under(folder, "claims", "drivers", "checkpoints", "ledger/damaged") == []
    assert not (folder / "results/sweeps" / sweep.name / "driver.json").exists()
    assert (folder / "results/sweeps" / sweep.name / "report/report.html").is_file()
    if tracked:
        uri = f"sqlite:///{folder}/results/mlflow.db"
        Client(uri)  # before MLflow's own, whose import it makes quiet
        check(uri, sweep.name, list(found.values()))
    return list(found.values())
