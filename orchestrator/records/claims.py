"""What one driver holds alone: the sweep that it runs, and the keys of the jobs that its workers have.

Each is a file that is created exclusively and names its driver. What a dead driver holds is taken over.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from orchestrator.records.lease import UNKNOWN, Holder, Lease, file_of

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = "claims"
"""Where the claims of a store are."""

TRIES = 100
"""Looks at a file that is let go of and taken again all the time, before the store counts as broken."""


class SweepHeld(RuntimeError):
    """Another driver runs the sweep."""

    def __init__(self, sweep: str, by: Holder) -> None:
        super().__init__(f"sweep {sweep!r} is run by {by}; `perturb stop` ends it")


@dataclass(frozen=True)
class Taken:
    """What came of :func:`take`.

    Attributes:
        by: the living driver that holds the file; None where it is this one.
        over: the dead driver that it was taken from, if any.
    """

    by: Holder | None = None
    over: Holder | None = None


def take(lease: Lease, name: str) -> Taken:
    """Hold a file of the store alone, in place of its holder where that is dead.

    Of several drivers that find a dead holder's file, the one that creates the file
    ``NAME.<id of the dead>`` may replace it, and only while it is still the dead one's: so a file that was
    taken over meanwhile is never taken from the living.

    Args:
        lease: of this driver. name: of the file.

    Raises:
        OSError: the store is away.
    """
    store = lease.store
    if store.link(name, file_of(lease.me.id)):  # the lease names the driver as well
        return Taken()
    mine = lease.me.json()
    for _ in range(TRIES):
        if store.create(name, mine):
            return Taken()
        content = store.get(name)
        if content is None:
            continue  # let go of just now
        held = Holder.parse(content)
        if held is not None and held.id == lease.me.id:
            return Taken()
        alive = _alive(lease, name, held)
        if alive is not None:
            return Taken(by=alive)
        marker = f"{name}.{held.id if held and held.id else 'unnamed'}"
        first = take(lease, marker)
        if first.by is not None:
            return first  # it is taking the file over at this moment
        try:
            if store.get(name) == content:
                store.put(name, mine)
                return Taken(over=held or UNKNOWN)
        finally:
            store.remove(marker)
    raise OSError(f"{name} in {store.location} can be neither created nor read")


def _alive(lease: Lease, name: str, held: Holder | None) -> Holder | None:
    """Who holds a file, if it lives; what cannot be read counts as just being written while it is new."""
    if held is None:
        return UNKNOWN if lease.fresh(name) else None
    return lease.living(held)


def let_go(lease: Lease, name: str) -> None:
    """Give a file back, unless another driver has taken it over."""
    held = Holder.parse(lease.store.get(name))
    if held is not None and held.id == lease.me.id:
        lease.store.remove(name)


class SweepLock:
    """Held while a driver runs a sweep, as a context manager: ``sweeps/<name>/driver.json``.

    Args:
        lease: of the driver. say: given a line when the sweep of a dead driver is taken over.

    Raises:
        SweepHeld: on entering, naming the holder's host and process.
    """

    def __init__(self, lease: Lease, say: Callable[[str], None] | None = None) -> None:
        self.lease, self.say = lease, say
        self.name = f"sweeps/{lease.me.sweep}/driver.json"

    def __enter__(self) -> None:
        taken = take(self.lease, self.name)
        if taken.by is not None:
            raise SweepHeld(self.lease.me.sweep, taken.by)
        if taken.over is not None:
            with suppress(OSError):
                self.lease.store.remove(file_of(taken.over.id))
            if self.say:
                self.say(f"took over from {taken.over}, which died")
        self.lease.watched = self.name

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lease.watched = ""
        with suppress(OSError):
            let_go(self.lease, self.name)


class Claims:
    """The keys whose jobs this driver has given to workers: ``claims/<key>.json``.

    A claim that the store does not take back now is given back with a later one, at the latest by the end of
    the lease.

    Args:
        lease: of the driver.

    Attributes:
        held: keys. late: those of them that are to be given back.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.held: set[str] = set()
        self.late: set[str] = set()

    def take(self, key: str) -> Holder | None:
        """Claim a key; returns the living driver that has it, None where it is this one's now.

        Raises:
            OSError: the store is away.
        """
        taken = take(self.lease, claim_file(key))
        if taken.by is None:
            self.held.add(key)
            self.late.discard(key)
        return taken.by

    def release(self, key: str) -> None:
        """Give a key back; nothing where it is not held."""
        self.late |= {key} & self.held
        with suppress(OSError):
            for late in list(self.late):
                let_go(self.lease, claim_file(late))
                self.late.discard(late)
                self.held.discard(late)

    def close(self) -> None:
        """Give all keys back."""
        for key in list(self.held):
            self.release(key)


def claim_file(key: str) -> str:
    """Name of the file in the store that says which driver has a key's job."""
    return f"{FOLDER}/{key}.json"
