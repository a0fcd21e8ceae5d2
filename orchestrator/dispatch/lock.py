"""One driver a sweep: a lock that its holder's death releases, and who holds it."""

from __future__ import annotations

import json
import os
import socket
from types import TracebackType

from filelock import FileLock, Timeout

from orchestrator.records.provenance import now
from orchestrator.records.store import Store


class SweepHeld(RuntimeError):
    """Another driver runs the sweep."""


class SweepLock:
    """Held while a driver runs a sweep, as a context manager.

    An operating system's lock on a file of the store: it ends with the process, so nothing stays behind
    a crash. A remote store has none; there, drivers of one sweep are not kept apart, which costs work
    done twice and no truth, since rows are written by key.

    Raises:
        SweepHeld: on entering, naming the holder's host and process.
    """

    def __init__(self, store: Store, sweep: str) -> None:
        folder = store.folder(f"sweeps/{sweep}")
        self.sweep = sweep
        self.holder = folder / "driver.json" if folder else None
        self.lock = FileLock(folder / "lock", timeout=0, fallback_to_soft=False) if folder else None

    def __enter__(self) -> None:
        if self.lock is None or self.holder is None:
            return
        self.holder.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.lock.acquire()
        except Timeout:
            raise SweepHeld(f"sweep {self.sweep!r} is run by {self._who()}; `perturb stop` ends it") from None
        me = {"host": socket.gethostname(), "pid": os.getpid(), "since": now()}
        self.holder.write_text(json.dumps(me))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.lock is not None and self.holder is not None:
            self.holder.unlink(missing_ok=True)
            self.lock.release()

    def _who(self) -> str:
        assert self.holder is not None
        try:
            held = json.loads(self.holder.read_text())
            return f"process {held['pid']} on {held['host']} since {held['since']}"
        except (OSError, ValueError, KeyError):
            return "another process"
