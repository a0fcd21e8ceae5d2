from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from orchestrator.records import lease as module
from orchestrator.records.lease import Holder, Lease, driver_of, file_of, lives, living, this_process
from orchestrator.records.store import Store

HOLD = """
import sys, time
from orchestrator.records.claims import Claims, SweepLock
from orchestrator.records.lease import Lease
from orchestrator.records.store import Store
with Lease(Store(sys.argv[1]), "s") as lease, SweepLock(lease):
    for key in sys.argv[2:]:
        Claims(lease).take(key)
    print(lease.me.json().decode(), flush=True)
    time.sleep(60)
"""


@contextmanager
def another_driver(folder: Path, *keys: str) -> Iterator[tuple[Holder, Callable[[], None]]]:
    """A driver in a process of its own, which holds the sweep ``s``, and what kills it."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *keys], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        holder = Holder.parse(process.stdout.readline().encode())
        assert holder is not None
        try:
            yield holder, process.kill
        finally:
            process.kill()


def elsewhere(store: Store, seconds: float = 0.0, **changes: object) -> Holder:
    """A driver on another host, which renewed its lease some seconds ago."""
    holder = Holder("other", "node-9", 7, "another boot", 1.0, "t", "noon", "")
    holder = replace(holder, **changes)  # type: ignore[arg-type]
    store.put(file_of(holder.id), holder.json())
    grow_old(store, file_of(holder.id), seconds)
    return holder


def grow_old(store: Store, name: str, seconds: float) -> None:
    if store.local:
        path = store.local / name
        os.utime(path, (path.stat().st_mtime - seconds,) * 2)
    else:
        store._fsspec.store[store.path(name)].modified -= timedelta(seconds=seconds)


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}")


def test_a_driver_survives_its_file() -> None:
    me = this_process("s")
    assert Holder.parse(me.json()) == me
    assert str(me) == f"process {os.getpid()} on {me.host} since {me.since}"


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[]", b"null", b'{"host": "a"}', b'{"host": "a", "pid": "x"}']
)
def test_a_damaged_file_names_nobody(content: bytes | None) -> None:
    assert Holder.parse(content) is None


def test_a_lease_lasts_from_entering_to_leaving(store: Store) -> None:
    with Lease(store, "s") as lease, Lease(store, "t") as other:
        found = other.living(lease.me)
        assert found is not None
        assert found.id == lease.me.id
        assert lives(lease.me)
    assert lives(lease.me) is False, "its process lives on, and drives no more"
    assert living(store, lease.me, lease.clock) is None
    assert store.names("drivers") == []


def test_a_process_of_this_host_is_dead_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with Lease(store, "t") as mine, another_driver(tmp_path) as (other, kill):
        grow_old(store, file_of(other.id), 1e6)
        assert mine.living(other) is not None, "its age does not matter while the process lives"
        kill()
        while psutil.Process(other.pid).status() != psutil.STATUS_ZOMBIE:  # its parent has not waited for it
            pass
        assert living(store, other, mine.clock) is None


def test_a_pid_that_was_given_again_is_another_process() -> None:
    me = this_process("s")
    assert lives(replace(me, started=me.started + 100)) is False


@pytest.mark.parametrize("change", [{"machine": "another boot pid:[1]"}, {"host": "node-9"}])
def test_a_container_of_the_same_name_is_another_host(change: dict[str, str]) -> None:
    assert lives(replace(this_process("s"), **change)) is None


def test_a_hidden_process_is_not_called_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    me = this_process("s")

    def hidden(pid: int) -> psutil.Process:
        raise psutil.NoSuchProcess(pid)

    monkeypatch.setattr(psutil, "Process", hidden)
    assert lives(me) is None
    monkeypatch.setattr(psutil, "pid_exists", lambda pid: False)
    assert lives(me) is False


def test_a_lease_of_another_host_expires(store: Store) -> None:
    with Lease(store, "s", ttl=60.0) as mine:
        fresh, old = elsewhere(store, 50.0), elsewhere(store, 70.0, id="old")
        assert mine.living(fresh) == fresh
        assert mine.living(old) is None
        assert mine.living(replace(fresh, id="never seen")) is None


def test_clocks_of_hosts_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This host's clock is a day ahead; the store's own decides."""
    store, real = Store(tmp_path), module.time.time
    monkeypatch.setattr(module.time, "time", lambda: real() + 86400)
    with Lease(store, "s") as mine:
        assert mine.living(elsewhere(store)) is not None
        assert mine.living(elsewhere(store, 70.0, id="old")) is None
    store.put("sweeps/t/driver.json", elsewhere(store).json())
    assert driver_of(store, "t") is not None


def test_a_store_without_times_goes_by_the_word_of_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "modified", lambda self, name: None)
    store, told = Store(tmp_path), datetime.now(UTC)
    with Lease(store, "s") as mine:
        assert mine.living(elsewhere(store, renewed=told.isoformat())) is not None
        old = elsewhere(store, id="old", renewed=(told - timedelta(seconds=70)).isoformat())
        assert mine.living(old) is None


def test_who_drives_a_sweep_is_told_from_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert driver_of(store, "s") is None
    with another_driver(tmp_path) as (other, _):
        found = driver_of(store, "s")
        assert found is not None
        assert found.pid == other.pid
    assert driver_of(store, "s") is None
    store.put("sweeps/t/driver.json", elsewhere(store, 70.0, sweep="t").json())
    assert driver_of(store, "t") is None
    assert [n for n in os.listdir(tmp_path / "drivers") if n.startswith(".")] == [], "no probe stays"


def test_the_driver_of_an_earlier_version(tmp_path: Path) -> None:
    """It wrote host, pid and since alone; its pid may have been given again after it died."""
    store, now = Store(tmp_path), datetime.now(UTC)

    def driven(holder: Holder, since: datetime) -> bool:
        held = {"host": holder.host, "pid": holder.pid, "since": since.isoformat()}
        store.put("sweeps/t/driver.json", json.dumps(held).encode())
        return driver_of(store, "t") is not None

    with another_driver(tmp_path) as (other, _):
        assert driven(other, now + timedelta(seconds=30))
        assert not driven(other, now - timedelta(days=9000))
        assert not driven(replace(other, host="node-9"), now)
    assert not driven(this_process("t"), now), "this process is of this version"


def test_a_store_that_is_away_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, put = Store(tmp_path), Store.put
    tried, away = threading.Semaphore(0), threading.Event()

    def failing(self: Store, name: str, content: bytes) -> None:
        tried.release()
        if away.is_set():
            raise OSError(5, "Input/output error")
        put(self, name, content)

    monkeypatch.setattr(Store, "put", failing)
    with caplog.at_level(logging.WARNING), Lease(store, "s", every=0.01) as lease:
        away.set()
        (tmp_path / file_of(lease.me.id)).unlink()
        for _ in range(8):
            tried.acquire()
        away.clear()
        for _ in range(3):
            tried.acquire()
        assert store.exists(file_of(lease.me.id)), "it is renewed when the store is back"
    assert sum("Input/output error" in record.message for record in caplog.records) == 1


def test_a_driver_hears_that_it_was_replaced(tmp_path: Path) -> None:
    store, heard = Store(tmp_path), threading.Event()
    by: list[Holder] = []
    with Lease(store, "s", every=0.01) as lease:
        lease.watched = "sweeps/s/driver.json"
        lease.lost = lambda holder: (by.append(holder), heard.set())  # type: ignore[func-returns-value, assignment]
        store.put(lease.watched, lease.me.json())
        other = elsewhere(store)
        store.put(lease.watched, other.json())
        assert heard.wait(30)
    assert by == [other], "once"
