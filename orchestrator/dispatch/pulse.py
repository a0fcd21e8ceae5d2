"""Threads beside the dispatcher: what is written, heard, printed and measured while it works."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from orchestrator.dispatch.live import line
from orchestrator.dispatch.progress import Progress
from orchestrator.records.store import Store

PLAIN_SECONDS = 5.0
"""Time between two lines where the output is not a terminal."""

GAUGE_SECONDS = 5.0
"""Time between two looks at what of Ray's resources is used."""


class Listener(Protocol):
    """Someone who looks at the progress now and then."""

    def progress(self, progress: Progress) -> None:
        """Called about once a second; must not wait for anything."""


class Pulse:
    """A thread beside the dispatcher: writes progress to the store, hears requests to stop, prints lines.

    Args:
        progress: what is shown. store: where it is written. asked: called when another shell asks to stop.
        show: given the lines, where the output is no terminal; None prints none.
        listeners: who else looks at the progress.
    """

    def __init__(
        self,
        progress: Progress,
        store: Store,
        flag: str,
        asked: Callable[[], None],
        show: Callable[[str], None] | None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.progress, self.store, self.flag, self.asked, self.show = progress, store, flag, asked, show
        self.listeners = listeners
        self.owed: set[str] = set()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, name="perturb-pulse", daemon=True)
        # apart, since a call to a cluster that is in trouble may not return, and nobody waits for it
        self.gauge = threading.Thread(target=self._measure, name="perturb-gauge", daemon=True)

    def start(self) -> None:
        """Begin; other shells know of the sweep before its first trial."""
        with suppress(OSError):
            self._write()
        self.thread.start()
        self.gauge.start()

    def ask(self, flag: str) -> None:
        """Put a file that asks trials to stop, as soon as the store takes it; signals' handlers call this."""
        try:
            self.store.put(flag, b"")
            self.owed.discard(flag)
        except OSError:
            self.owed.add(flag)

    def close(self) -> None:
        """Write once more and end."""
        self.ended.set()
        self.thread.join()
        with suppress(OSError):
            self._write()

    def _run(self) -> None:
        said = time.monotonic()
        while not self.ended.wait(1.0):
            for flag in list(self.owed):
                self.ask(flag)
            with suppress(OSError):  # a store that is away for a while is tried again
                self._write()
                if self.store.exists(self.flag):
                    self.asked()
            for listener in self.listeners:
                listener.progress(self.progress)
            if self.show and time.monotonic() - said > PLAIN_SECONDS:
                said = time.monotonic()
                self.show(line(self.progress.snapshot()))

    def _measure(self) -> None:
        while not self.ended.wait(GAUGE_SECONDS):
            self.progress.resources = resources()

    def _write(self) -> None:
        self.store.put(f"sweeps/{self.progress.name}/progress.json", self.progress.json())


def resources() -> dict[str, tuple[float, float]]:
    """Used and all of Ray's CPUs and GPUs; empty where Ray does not run or does not answer."""
    ray = sys.modules.get("ray")
    try:
        if ray is None or not ray.is_initialized():
            return {}
        total, free = ray.cluster_resources(), ray.available_resources()
    except Exception:  # noqa: BLE001  its parts come and go in whatever order; a gauge says nothing of it
        return {}
    return {
        kind: (total[kind] - free.get(kind, 0.0), total[kind]) for kind in ("CPU", "GPU") if total.get(kind)
    }
