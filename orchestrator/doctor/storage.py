"""The store as the driver and the nodes see it: written here, read there, and the other way round."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from orchestrator.doctor.result import Result

if TYPE_CHECKING:
    from orchestrator.records.store import Store

VISIBLE_SECONDS = 3.0
"""How long a network folder may take to show what another machine wrote."""

SHARED = "--store: a folder that all nodes mount at this path (NFS), or an object store (s3://...)"
WRITABLE = "--store: a folder that the user of the driver and of the nodes can write, with room"
EXCLUSIVE = "--store: a folder with exclusive creation (NFS 3 or later), or an object store"

FILE, TAKEN = "driver", "taken"


@contextmanager
def examined(store: Store) -> Iterator[str]:
    """A folder of the store for one examination, removed afterwards; nothing else is left behind."""
    folder = f".doctor-{uuid4().hex[:12]}"
    fresh = store.local is not None and not store.local.exists()
    try:
        yield folder
    finally:
        with suppress(OSError):
            store.remove_folder(folder)
        if fresh and store.local is not None:
            with suppress(OSError):  # not empty: someone else has begun to use it
                store.local.rmdir()


def exercise(store: Store, folder: str) -> Result:
    """Write, replace and read a file, create one exclusively: all that a sweep asks of a store.

    Object stores have no exclusive creation, and are not asked for it.

    Raises:
        OSError: the store refuses.
    """
    start = time.perf_counter()
    store.put(f"{folder}/{FILE}", b"first")
    store.put(f"{folder}/{FILE}", folder.encode())
    if store.get(f"{folder}/{FILE}") != folder.encode():
        return Result("store", "fail", f"{store.location} does not give back what was written", WRITABLE)
    took = (time.perf_counter() - start) * 1000 / 3
    place = store.folder(folder)
    if place is not None and (not _created(place / TAKEN) or _created(place / TAKEN)):
        return Result("store", "fail", f"{store.location} creates a file twice", EXCLUSIVE)
    return Result("store", "ok", f"{took:.1f} ms a file in {store.location}")


def visit(location: str, folder: str, node: str) -> Result:
    """On a node: read the driver's file, respect what it created, leave a file for it.

    Nothing is written where the driver's file is not seen.

    Args:
        location: of the store. folder: of this examination. node: the name of the file to leave.

    Raises:
        OSError: the store refuses.
    """
    from orchestrator.records.store import Store

    store = Store(location)
    if not _seen(store, f"{folder}/{FILE}", folder.encode()):
        there = store.local is not None and not store.local.exists()
        told = f"{location} is not here" if there else f"{location} here is not the driver's"
        return Result("store", "fail", told, SHARED)
    place = store.folder(folder)
    if place is not None and _created(place / TAKEN):
        return Result("store", "fail", f"{location} creates a second time what the driver created", EXCLUSIVE)
    start = time.perf_counter()
    store.put(f"{folder}/{node}", node.encode())
    if store.get(f"{folder}/{node}") != node.encode():
        return Result("store", "fail", f"{location} does not give back what was written", WRITABLE)
    return Result("store", "ok", f"{(time.perf_counter() - start) * 500:.1f} ms a file in {location}")


def returned_too(finding: Result, node: str, store: Store, folder: str) -> Result:
    """On the driver: a node's finding; where it wrote, a failure when that does not reach the driver.

    Args:
        finding: of the node. node: the name of the file that it left. store, folder: where.
    """
    if (
        finding.check != "store"
        or finding.status == "fail"
        or _seen(store, f"{folder}/{node}", node.encode())
    ):
        return finding
    found = f"what it writes to {store.location} does not reach the driver"
    return replace(finding, status="fail", found=found, remedy=SHARED)


def _seen(store: Store, name: str, content: bytes) -> bool:
    end = time.monotonic() + VISIBLE_SECONDS
    while (found := store.get(name)) != content:
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return found == content


def _created(path: Path) -> bool:
    """Whether the file could be created exclusively."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return False
    return True
