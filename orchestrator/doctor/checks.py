"""What is checked on one node without starting anything: versions, code, disk, data, limits, clock.

A node may lack any package, and finding that out is the purpose: only the standard library and
:mod:`engine.files` are imported before a check runs.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import engine
from engine.files import cache_folder
from orchestrator.doctor.result import Result, size, tried
from orchestrator.records.provenance import versions

SCARCE, NOTHING = 5e9, 5e8
"""Bytes left on a disk below which a check warns, and below which it fails."""

SHARED_MEMORY = 1e9
"""Bytes of /dev/shm below which Ray's object store falls back to a disk."""

OPEN_FILES = 8192
"""Fewer are too few for hundreds of trials; Ray asks for as many."""

SKEWED, BROKEN = 2.0, 30.0
"""Seconds between two clocks at which a check warns, and at which it fails."""

BLOCK, BLOCKS = 1 << 16, 64
"""Bytes of a block, and how many of a large file are read to tell it from another one."""


@dataclass(frozen=True)
class File:
    """A file as the driver has it.

    Attributes:
        name: of converted data in a node's cache, or the full path of a file that is not sent.
        size: in bytes. content: :func:`fingerprint`.
    """

    name: str
    size: int
    content: str


@dataclass(frozen=True)
class Expected:
    """What the driver has and the sweep wants; each node is held against it.

    Attributes:
        versions: of Python and packages. code: :func:`code_hash`.
        store: location of the store. folder: in it, where this examination writes; empty where the driver
            itself could not.
        data: converted data sets. files: files that trials read by path.
    """

    versions: Mapping[str, str]
    code: str
    store: str = ""
    folder: str = ""
    data: tuple[File, ...] = ()
    files: tuple[File, ...] = ()


def look(expected: Expected) -> list[Result]:
    """All these checks, on the node that calls."""
    return [
        check_versions(versions(), expected.versions),
        check_code(code_hash(), expected.code),
        tried("cache", lambda: check_cache(expected.data), "PERTURB_CACHE: a folder on a disk with room"),
        check_shared_memory(Path("/dev/shm")),
        check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        tried("data", lambda: check_data(expected.data), "PERTURB_CACHE: a folder that can be read"),
        *([tried("files", lambda: check_files(expected.files), "make them readable")] * bool(expected.files)),
    ]


def check_versions(here: Mapping[str, str], driver: Mapping[str, str]) -> Result:
    """Releases of Python and of the packages that decide results equal the driver's.

    Another build of a release (``2.15.0+cu130``), and another Python of the same minor version, warn. Our
    own package may be absent: its code travels (:func:`check_code`).
    """
    other: list[str] = []
    near: list[str] = []
    for name, wanted in driver.items():
        found = here.get(name, "none")
        if found == wanted or (name == "perturb-sweeps" and found == "none"):
            continue
        told = f"{name} {found}, the driver's is {wanted}"
        (near if _release(name, found) == _release(name, wanted) else other).append(told)
    if other or near:
        remedy = "one image, or `pip install --constraint constraints.txt`, for the driver and all nodes"
        return Result("versions", "fail" if other else "warn", "; ".join(other + near), remedy)
    named = ", ".join(f"{name} {here[name]}" for name in ("python", "torch", "ray") if name in here)
    return Result("versions", "ok", named)


def _release(name: str, version: str) -> str:
    return version.rpartition(".")[0] if name == "python" else version.partition("+")[0]


@cache
def code_hash() -> str:
    """SHA-256 of the sources of ``engine`` and ``orchestrator`` as this process imports them."""
    digest = hashlib.sha256()
    for folder in (Path(str(engine.__file__)).parent, Path(__file__).parents[1]):
        for path in sorted(folder.rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{folder.name}/{path.relative_to(folder)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def check_code(here: str, driver: str) -> Result:
    """Our own code is the driver's."""
    if here == driver:
        return Result("code", "ok", here[:10])
    remedy = "remove engine and orchestrator from the node's PYTHONPATH; `perturb run --address` sends them"
    return Result("code", "fail", f"sources {here[:10]}, the driver's are {driver[:10]}", remedy)


def check_cache(data: Sequence[File]) -> Result:
    """The cache folder can be written and has room for the data that it lacks."""
    folder = cache_folder()
    lacking = sum(f.size for f in data if not (folder / "data" / f.name).is_file())
    return check_disk("cache", folder, lacking, "PERTURB_CACHE")


def check_disk(check: str, folder: Path, needed: float, setting: str) -> Result:
    """A folder, or the one that it will be made in, can be written and has room.

    Args:
        check: its name. folder: may not exist yet. needed: bytes that will be written.
        setting: how another folder is chosen.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    found = f"{size(free)} free in {folder}"
    if not os.access(existing, os.W_OK | os.X_OK):
        return Result(check, "fail", f"{existing} cannot be written", f"{setting}: a folder of your own")
    if needed:
        found += f", {size(needed)} needed"
    if free < max(needed, NOTHING):
        return Result(check, "fail", found, f"free some, or {setting}: a folder on a larger disk")
    if free < needed + SCARCE:
        return Result(check, "warn", found, f"free some, or {setting}: a folder on a larger disk")
    return Result(check, "ok", found)


def check_shared_memory(folder: Path) -> Result:
    """/dev/shm holds Ray's object store, by which data reach a node, and what NCCL exchanges in a node."""
    if not folder.is_dir():
        return Result("shared memory", "ok", f"no {folder} here")
    total = shutil.disk_usage(folder).total
    if total < SHARED_MEMORY:
        remedy = "a container's --shm-size (docker run --shm-size=8g; a memory emptyDir on Kubernetes)"
        return Result("shared memory", "warn", f"{size(total)} in {folder}", remedy)
    return Result("shared memory", "ok", f"{size(total)} in {folder}")


def check_open_files(hard: int) -> Result:
    """The limit of open files suffices. hard: limit of a process, to which Ray raises its own."""
    if hard == resource.RLIM_INFINITY or hard >= OPEN_FILES:
        return Result("open files", "ok", "no limit" if hard == resource.RLIM_INFINITY else f"{hard}")
    remedy = "`ulimit -n 65536` before `ray start`, or LimitNOFILE= of its service"
    return Result("open files", "warn", f"at most {hard}, too few for hundreds of trials", remedy)


def fingerprint(path: Path) -> str:
    """What tells a file from another of its size: SHA-256 of blocks spread over it.

    A file up to 4 MiB is read whole, of a larger one no more than that.
    """
    length = path.stat().st_size
    digest = hashlib.sha256(str(length).encode())
    last = max(length - BLOCK, 0)
    with path.open("rb") as file:
        for i in range(BLOCKS):
            start = i * BLOCK if length <= BLOCK * BLOCKS else last * i // (BLOCKS - 1)
            file.seek(start)
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def file_of(path: Path, name: str | None = None) -> File:
    """A file of this machine as others are held against."""
    return File(name or str(path), path.stat().st_size, fingerprint(path))


def check_data(data: Sequence[File]) -> Result:
    """Converted data in the node's cache are the driver's; those that it lacks are sent with the run."""
    folder = cache_folder() / "data"
    held = [f for f in data if (folder / f.name).is_file()]
    for file in held:
        if fingerprint(folder / file.name) != file.content:
            found = f"{folder / file.name} is not the driver's"
            return Result("data", "fail", found, "delete it; the next run sends the driver's")
    lacking = sum(f.size for f in data if f not in held)
    if lacking:
        return Result("data", "ok", f"{size(lacking)} to be sent with the run")
    return Result("data", "ok", "as on the driver" if data else "none converted yet")


def check_files(files: Sequence[File]) -> Result:
    """Files that trials read by path, such as word vectors, are here and are the driver's."""
    for file in files:
        if not Path(file.name).is_file():
            return Result("files", "fail", f"no {file.name}", "copy it there, or keep it on a shared folder")
        if fingerprint(Path(file.name)) != file.content:
            return Result("files", "fail", f"{file.name} is not the driver's", "copy the driver's there")
    return Result("files", "ok", "as on the driver")


def check_clock(pings: Sequence[tuple[float, float, float]]) -> Result:
    """The node's clock against the driver's, from the ping that came back first.

    As NTP estimates it, of a ping sent at a, answered there at b, received at c:

        offset = b - (a + c) / 2,    error <= (c - a) / 2

    Args:
        pings: (a, b, c), in seconds; a and c by the driver's clock, b by the node's.
    """
    sent, there, received = min(pings, key=lambda ping: ping[2] - ping[0])
    offset, error = there - (sent + received) / 2, (received - sent) / 2
    certain = abs(offset) - error
    found = f"{offset:+.3f} s ± {error:.3f} s"
    if certain > SKEWED:
        remedy = "chrony or ntpd on the node, as on the driver: leases and time stamps rely on the clocks"
        return Result("clock", "fail" if certain > BROKEN else "warn", found, remedy)
    if error > SKEWED:
        return Result("clock", "warn", f"{found}: the answer took too long", "look again when it is idle")
    return Result("clock", "ok", found)
