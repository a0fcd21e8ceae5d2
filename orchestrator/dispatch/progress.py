"""Progress of a running sweep: counted from events, shown in the terminal, written to the store."""

from __future__ import annotations

import json
import os
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.planning.job import Job, Outcome
from orchestrator.records.provenance import now
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.parts import Metric

PLAIN_SECONDS = 5.0
"""Time between two lines where the output is not a terminal."""


STALE_SECONDS = 60.0
"""Age of the last word of a driver on another host after which it counts as dead."""


class Progress:
    """Counts what happens to jobs; told by the dispatcher, read by the views.

    Args:
        name: of the sweep. counts: of its plan. metric: that the best cell is chosen by.
        evaluations: counts of the plan's evaluations.
    """

    def __init__(
        self,
        name: str,
        counts: Mapping[str, int],
        metric: Metric,
        evaluations: Mapping[str, int] | None = None,
    ) -> None:
        self.name, self.metric = name, metric
        self.trials, self.before = counts["trials"], counts["done"]
        self.evaluations = dict(evaluations or {})
        self.evaluated: Counter[str] = Counter()
        self.trains = True
        self.states: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.running: dict[str, Job] = {}
        self.values: dict[str, list[float]] = {}
        self.labels: dict[str, dict[str, Any]] = {}
        self.state, self.began = "running", time.monotonic()
        self.first_start: float | None = None

    def started(self, job: Job) -> None:
        """A job was handed to a worker."""
        self.first_start = self.first_start or time.monotonic()
        self.running[job.key] = job
        self.labels[job.cell] = job.labels

    def epoch(self, job: Job, epoch: int, metrics: dict[str, float]) -> None:
        """An epoch of a job ended; nothing is counted by epochs."""

    def finished(self, job: Job, outcome: Outcome) -> None:
        """A job ended."""
        self.running.pop(job.key, None)
        (self.states if job.evaluation is None else self.evaluated)[outcome.status] += 1
        if outcome.failure:
            self.failures[outcome.failure] += 1
        self._measured(job.cell, outcome.best, outcome.last)

    def again(self, job: Job, outcome: Outcome) -> None:
        """A job failed, and waits to be started once more."""
        self.running.pop(job.key, None)

    def recall(self, jobs: Iterable[Job], rows: Iterable[Row]) -> None:
        """What earlier runs measured, so that the best cell is that of the whole sweep."""
        self.labels.update({job.cell: job.labels for job in jobs})
        for row in rows:
            self._measured(row.cell, row.measured("best"), row.measured("last"))

    def _measured(self, cell: str, best: dict[str, float], last: dict[str, float]) -> None:
        metrics = best if self.metric.checkpoint == "best" else last
        if self.metric.name in metrics:
            self.values.setdefault(cell, []).append(metrics[self.metric.name])

    @property
    def done(self) -> int:
        """Trials that the ledger holds as done."""
        return self.before + self.states["completed"] + self.states["diverged"]

    def eta(self) -> float | None:
        """Seconds that are left, None before the first trial has ended.

        From the rate since the first trial began, the start of Ray left out; trials that run count as
        half done, and evaluations as trials.
        """
        ended = self.states.total() + self.evaluated.total()
        if not ended or self.first_start is None:
            return None
        trials = self.trials - self.done - self.states["failed"] if self.trains else 0
        evaluations = self.evaluations.get("todo", 0) - self.evaluated.total()
        left = trials + evaluations - len(self.running) / 2
        rate = (ended + len(self.running) / 2) / (time.monotonic() - self.first_start)
        return max(0.0, left / rate)

    def best(self) -> tuple[dict[str, Any], float, int] | None:
        """Labels, mean and number of seeds of the best cell so far."""
        if not self.values:
            return None
        sign = 1 if self.metric.mode == "max" else -1
        means = {cell: statistics.fmean(values) for cell, values in list(self.values.items())}
        cell = max(means, key=lambda c: sign * means[c])
        return self.labels[cell], means[cell], len(self.values[cell])

    def snapshot(self) -> dict[str, Any]:
        """All of it as plain JSON values, for ``perturb status`` in another shell."""
        best = self.best()
        return {
            "sweep": self.name,
            "state": self.state,
            "trials": self.trials,
            "done": self.done,
            "running": len(self.running),
            "failed": self.states["failed"],
            "failures": dict(self.failures),
            "diverged": self.states["diverged"],
            "evaluations": self._evaluations(),
            "eta_seconds": self.eta(),
            "elapsed_seconds": time.monotonic() - self.began,
            "best": {"labels": best[0], self.metric.name: best[1], "seeds": best[2]} if best else None,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "updated": now(),
        }

    def _evaluations(self) -> dict[str, int]:
        """Counts of the evaluations as they stand now; none where none is asked for."""
        if not self.evaluations:
            return {}
        done = self.evaluations["done"] + self.evaluated["completed"]
        failed, lost = self.evaluated["failed"], self.evaluations["impossible"]
        total = max(self.evaluations["evaluations"], done + failed + lost)  # a search asks as it goes
        return {"evaluations": total, "done": done, "failed": failed, "impossible": lost}

    def json(self) -> bytes:
        """The snapshot as a file's content."""
        return json.dumps(self.snapshot(), indent=1).encode()


def words(labels: dict[str, Any]) -> str:
    """Labels as ``epsilon=3 p=0.5``: the last part of each name, the whole where two would be alike."""
    short = Counter(name.rpartition(".")[2] for name in labels)
    parts = []
    for name, value in labels.items():
        last = name.rpartition(".")[2]
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        parts.append(shown if name == "point" else f"{last if short[last] == 1 else name}={shown}")
    return " ".join(parts) or "base trial"


def duration(seconds: float | None) -> str:
    """``1:02:03``, ``2:03``, or ``-`` where it is not known."""
    if seconds is None:
        return "-"
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def line(progress: Progress) -> str:
    """The progress as one line of text."""
    s, best = progress.snapshot(), progress.best()
    text = f"{s['done']}/{s['trials']} trials  {s['running']} running  {s['failed']} failed"
    if s["diverged"]:
        text += f"  {s['diverged']} diverged"
    if s["evaluations"]:
        text += f"  {evaluations_text(s['evaluations'])}"
    text += f"  elapsed {duration(s['elapsed_seconds'])}  ETA {duration(s['eta_seconds'])}"
    if best:
        labels, mean, seeds = best
        text += f"  best {progress.metric.name} {mean:.4f} (n={seeds}) {words(labels)}"
    return text


def evaluations_text(counts: Mapping[str, int]) -> str:
    """Counts of evaluations in a few words.

    >>> evaluations_text({"evaluations": 6, "done": 4, "failed": 1, "impossible": 0})
    '4/6 evaluations (1 failed)'
    """
    bad = [f"{counts[state]} {state}" for state in ("failed", "impossible") if counts[state]]
    return f"{counts['done']}/{counts['evaluations']} evaluations" + (f" ({', '.join(bad)})" if bad else "")


def view(progress: Progress) -> RenderableType:
    """The progress as a live block: a bar, the counts, the best cell, what runs."""
    s, best = progress.snapshot(), progress.best()
    table = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=max(1, progress.trials), completed=progress.done, width=32)
    counts = Text.assemble(
        (f"{s['done']}/{s['trials']}", "bold"), " trials  ",
        f"{s['running']} running  ", (f"{s['failed']} failed", "red" if s["failed"] else ""),
        f"  {evaluations_text(s['evaluations'])}" if s["evaluations"] else "",
    )  # fmt: skip
    table.add_row(Text(progress.name, style="bold"), bar, counts)
    clock = f"elapsed {duration(s['elapsed_seconds'])}   ETA {duration(s['eta_seconds'])}"
    note = {"running": "", "draining": "draining: trials checkpoint and stop"}.get(s["state"], s["state"])
    table.add_row("", Text(clock), Text(note, style="yellow"))
    if best:
        labels, mean, seeds = best
        text = f"best so far  {progress.metric.name} {mean:.4f} (n={seeds})  {words(labels)}"
        return Group(table, Text(text, no_wrap=True, overflow="ellipsis"))
    return table


class Pulse:
    """A thread beside the dispatcher: writes progress to the store, hears requests to stop, prints lines.

    Args:
        progress: what is shown. store: where it is written. asked: called when another shell asks to stop.
        show: given the lines, where the output is no terminal; None prints none.
    """

    def __init__(
        self,
        progress: Progress,
        store: Store,
        flag: str,
        asked: Callable[[], None],
        show: Callable[[str], None] | None,
    ) -> None:
        self.progress, self.store, self.flag, self.asked, self.show = progress, store, flag, asked, show
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, name="perturb-pulse", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.thread.start()

    def close(self) -> None:
        """Write once more and end."""
        self.ended.set()
        self.thread.join()
        with suppress(OSError):
            self._write()

    def _run(self) -> None:
        said = time.monotonic()
        while not self.ended.wait(1.0):
            with suppress(OSError):  # a store that is away for a while is tried again
                self._write()
                if self.store.exists(self.flag):
                    self.asked()
            if self.show and time.monotonic() - said > PLAIN_SECONDS:
                said = time.monotonic()
                self.show(line(self.progress))

    def _write(self) -> None:
        self.store.put(f"sweeps/{self.progress.name}/progress.json", self.progress.json())


def live(progress: Progress, console: Any) -> Live:
    """The live block on a terminal, drawn four times a second by a thread of its own."""
    return Live(console=console, refresh_per_second=4, transient=True, get_renderable=lambda: view(progress))


def progress_of(store: Store, name: str) -> dict[str, Any] | None:
    """What the driver of a sweep wrote last; None where none has run."""
    content = store.get(f"sweeps/{name}/progress.json")
    if content is None:
        return None
    progress: dict[str, Any] = json.loads(content)
    if progress["state"] in ("running", "draining") and not _driven(progress):
        progress["state"] = "interrupted"
    return progress


def _driven(progress: dict[str, Any]) -> bool:
    """Whether its driver lives: told by its process on this host, elsewhere by how fresh its word is."""
    if progress["host"] == socket.gethostname():
        try:
            os.kill(progress["pid"], 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True  # another user's process
        return True
    age = datetime.now(UTC) - datetime.fromisoformat(progress["updated"])
    return age.total_seconds() < STALE_SECONDS
