"""Who lives: a file in the store for each driver, renewed while it runs, by which others tell that it died.

A driver of this host is dead when its process is, at once and never before; one of another host when it has
not renewed its file for :data:`TTL_SECONDS`. Ages are taken by the store's own clock, so that no two hosts'
clocks are compared.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from functools import cache
from types import TracebackType

import psutil

from orchestrator.records.provenance import now
from orchestrator.records.store import Store

RENEW_SECONDS = 10.0
"""Time between two renewals of a driver's lease."""

TTL_SECONDS = 60.0
"""Age after which the lease of a driver on another host counts as expired."""

TRUST_SECONDS = 0.5
"""How long a driver that was found alive is not looked at again."""

START_TOLERANCE = 2.0
"""Seconds that two measurements of one process's start may differ by."""


@dataclass(frozen=True)
class Holder:
    """A driver, as its lease, its sweep's file and its claims name it.

    Attributes:
        id: its own, new in every run; empty where an earlier version wrote the file.
        host, pid: where it runs. machine: the boot and the process namespace that the pid counts in, since
            containers may share a host's name. started: of its process, in seconds after the boot.
        sweep: that it runs. since: when it began. renewed: when it last said so, by its own clock.
    """

    id: str
    host: str
    pid: int
    machine: str = ""
    started: float = 0.0
    sweep: str = ""
    since: str = ""
    renewed: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" + (f" since {self.since}" if self.since else "")

    def json(self) -> bytes:
        """As a file's content."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def parse(cls, content: bytes | None) -> Holder | None:
        """The driver that a file names; None where there is no file or it is damaged.

        >>> str(Holder.parse(b'{"host": "node-1", "pid": 7, "since": "noon"}'))
        'process 7 on node-1 since noon'
        """
        try:
            found = json.loads(content or b"")
            known = {field.name: found[field.name] for field in fields(cls) if field.name in found}
            return cls(**{"id": "", **known, "host": str(found["host"]), "pid": int(found["pid"])})
        except (ValueError, KeyError, TypeError):
            return None


UNKNOWN = Holder("", "a host unknown", 0)
"""Who holds a file that cannot be read yet."""

_open: set[str] = set()
"""Ids of the leases that this process holds."""


def this_process(sweep: str) -> Holder:
    """A new driver in this process."""
    me = psutil.Process()
    return Holder(
        uuid.uuid4().hex[:16], socket.gethostname(), me.pid, machine(), _started(me), sweep, now(), now()
    )


@cache
def machine() -> str:
    """The boot of this machine and the process namespace; empty where the system tells neither."""
    parts = []
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        parts.append(file.read().strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def lives(holder: Holder) -> bool | None:
    """Whether a driver's process lives; None where this host cannot tell."""
    here = holder.host == socket.gethostname() and (holder.machine == machine() or not holder.id)
    if not here:
        return None
    try:
        process = psutil.Process(holder.pid)
        if process.status() == psutil.STATUS_ZOMBIE or not _is(process, holder):
            return False
    except psutil.NoSuchProcess:
        return None if psutil.pid_exists(holder.pid) else False  # hidden: another user's
    except psutil.AccessDenied:
        return None
    return holder.id in _open if holder.pid == os.getpid() else True


def _is(process: psutil.Process, holder: Holder) -> bool:
    """Whether a process is the driver, and no later one that was given its pid."""
    if holder.id:
        return abs(_started(process) - holder.started) < START_TOLERANCE
    try:
        since = datetime.fromisoformat(holder.since).timestamp()
    except ValueError:
        return False
    return process.create_time() < since + START_TOLERANCE


def _started(process: psutil.Process) -> float:
    """Seconds from the boot to a process's start: unlike the time of day, no clock's correction moves it."""
    return process.create_time() - psutil.boot_time()


def file_of(driver: str) -> str:
    """Name of a driver's lease."""
    return f"drivers/{driver}.json"


def living(
    store: Store, holder: Holder, clock: Callable[[], float], ttl: float = TTL_SECONDS
) -> Holder | None:
    """A driver as its lease has it; None when it is dead.

    Args:
        store: of the leases. holder: whom a file names. clock: the store's time now, in seconds.
        ttl: age in seconds at which a lease expires that this host cannot judge by its process.
    """
    if not holder.id:
        return holder if lives(holder) else None
    content = store.get(file_of(holder.id))
    if content is None:
        return None  # it ended, or was found dead before
    found = Holder.parse(content) or holder
    alive = lives(found)
    if alive is None:
        alive = age(store, file_of(holder.id), clock, found.renewed) < ttl
    return found if alive else None


def age(store: Store, name: str, clock: Callable[[], float], written: str = "") -> float:
    """Seconds since a file was written; by ``written``, its writer's word, where the store does not say."""
    modified = store.modified(name)
    if modified is not None:
        return clock() - modified
    return time.time() - datetime.fromisoformat(written).timestamp() if written else 0.0


def driver_of(store: Store, sweep: str) -> Holder | None:
    """The driver that runs a sweep now, told from the store alone; None where none does."""
    held = Holder.parse(store.get(f"sweeps/{sweep}/driver.json"))
    return living(store, held, lambda: _probe(store)) if held else None


def _probe(store: Store) -> float:
    """The store's time now, from a file written for it; this host's where the store takes none."""
    name = f"drivers/.{uuid.uuid4().hex}"
    with suppress(OSError):
        store.put(name, b"")
        modified = store.modified(name)
        store.remove(name)
        if modified is not None:
            return modified
    return time.time()


class Lease:
    """A driver's own lease, as a context manager: written, renewed by a thread, removed at the end.

    A store that is away costs a warning: the driver goes on, and renews when it is back.

    Args:
        store: where it lies. sweep: that the driver runs.
        ttl: age at which others' leases expire. every: seconds between two renewals.

    Attributes:
        me: the driver.
        stop: name of the file that asks the trials of this driver alone to stop.
        lost: told once, in the renewing thread, who has taken over what this driver watches.
    """

    def __init__(
        self, store: Store, sweep: str, ttl: float = TTL_SECONDS, every: float = RENEW_SECONDS
    ) -> None:
        self.store, self.ttl, self.every = store, ttl, every
        self.me = this_process(sweep)
        self.stop = f"drivers/{self.me.id}.stop"
        self.watched = ""
        self.lost: Callable[[Holder], None] | None = None
        self._written, self._at = 0.0, 0.0
        self._trusted: dict[str, tuple[float, Holder]] = {}
        self._away = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="perturb-lease", daemon=True)

    def __enter__(self) -> Lease:
        _open.add(self.me.id)
        self.renew()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(self.every)
        _open.discard(self.me.id)
        with suppress(OSError):
            self.store.remove(self.stop)
            self.store.remove(file_of(self.me.id))

    def renew(self) -> None:
        """Say that this driver lives."""
        name = file_of(self.me.id)
        self.store.put(name, replace(self.me, renewed=now()).json())
        written, at = self.store.modified(name), time.monotonic()
        self._written, self._at = time.time() if written is None else written, at

    def clock(self) -> float:
        """The store's time now, in seconds: that of the last renewal, and what has passed since."""
        return self._written + time.monotonic() - self._at

    def living(self, holder: Holder) -> Holder | None:
        """Another driver as its lease has it; None when it is dead."""
        at, known = self._trusted.get(holder.id, (0.0, holder))
        if holder.id and at and time.monotonic() - at < TRUST_SECONDS:
            return known
        found = living(self.store, holder, self.clock, self.ttl)
        if found is not None:
            self._trusted[holder.id] = (time.monotonic(), found)
        return found

    def fresh(self, name: str) -> bool:
        """Whether a file was written less than a lease's life ago."""
        return age(self.store, name, self.clock) < self.ttl

    def _run(self) -> None:
        while not self._ended.wait(self.every):
            try:
                self.renew()
                self._look()
                self._away = False
            except Exception as error:  # noqa: BLE001  the boundary of the thread: told once, and tried again
                self._warn(error)

    def _look(self) -> None:
        """See whether what is watched is still this driver's."""
        if not self.watched or self.lost is None:
            return
        held = Holder.parse(self.store.get(self.watched))
        if held is not None and held.id != self.me.id:
            self.lost(held)
            self.lost = None

    def _warn(self, error: Exception) -> None:
        known, self._away = self._away, True
        if not known:
            logging.getLogger("perturb").warning(
                "the store does not take this driver's word (%s); the sweep goes on, and it is tried again",
                error,
            )
