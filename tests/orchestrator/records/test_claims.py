from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator.records.claims import Claims, SweepHeld, SweepLock, take
from orchestrator.records.lease import Holder, Lease, file_of
from orchestrator.records.store import Store
from tests.orchestrator.records.test_lease import another_driver, elsewhere, grow_old


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path if request.param == "local" else f"memory://{tmp_path.name}")


def test_a_key_is_one_drivers_at_a_time(store: Store) -> None:
    with Lease(store, "s") as lease, Lease(store, "t") as other:
        mine, others = Claims(lease), Claims(other)
        assert mine.take("k") is None
        assert mine.take("k") is None, "it is this one's already"
        held = others.take("k")
        assert held is not None
        assert (held.id, held.sweep) == (lease.me.id, "s")
        others.release("k")
        assert others.take("k") is not None, "only its holder gives it back"
        assert others.take("l") is None
        mine.release("k")
        assert others.take("k") is None
        others.close()
        assert store.names("claims") == []


def test_a_claim_is_a_further_name_of_the_lease(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with Lease(store, "s") as lease, Lease(store, "t") as other:
        claims = Claims(lease)
        claims.take("first")  # makes the folder
        claims.take("k")
        assert os.path.samefile(tmp_path / "claims/k.json", tmp_path / file_of(lease.me.id))
        lease.renew()
        held = Holder.parse(store.get("claims/k.json"))
        assert held is not None
        assert held.id == lease.me.id, "a renewal is a new file"
        assert claims.take("k") is None
        found = Claims(other).take("k")
        assert found is not None
        assert found.id == lease.me.id
        store.remove(file_of(lease.me.id))
        assert claims.take("l") is None, "without a lease to link it is written"
        claims.close()
        assert store.names("claims") == []


def test_what_a_driver_leaves_at_its_end_is_free(store: Store) -> None:
    with Lease(store, "s") as lease:
        Claims(lease).take("k")
    with Lease(store, "s") as lease:
        claims = Claims(lease)
        assert claims.take("k") is None
        claims.release("k")
    assert store.names("claims") == []


def test_what_a_killed_driver_holds_is_taken_over_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    said: list[str] = []
    with Lease(store, "s") as lease, another_driver(tmp_path, "k") as (other, kill):
        with pytest.raises(SweepHeld, match=f"'s' is run by process {other.pid} on {other.host} since"):
            SweepLock(lease).__enter__()
        held = Claims(lease).take("k")
        assert held is not None
        assert held.pid == other.pid
        kill()
        while Claims(lease).take("k") is not None:
            pass
        with SweepLock(lease, said.append):
            assert json.loads(store.get("sweeps/s/driver.json") or b"")["pid"] == os.getpid()
    assert said == [f"took over from {other}, which died"]
    assert store.names("sweeps/s") == []
    assert store.names("drivers") == []


def test_a_sweep_of_another_host_is_taken_over_when_its_lease_expires(store: Store) -> None:
    other = elsewhere(store, sweep="s")
    store.put("sweeps/s/driver.json", other.json())
    with Lease(store, "s") as lease, pytest.raises(SweepHeld, match="process 7 on node-9"):
        SweepLock(lease).__enter__()
    grow_old(store, file_of(other.id), 70.0)
    with Lease(store, "s") as lease, SweepLock(lease):
        held = Holder.parse(store.get("sweeps/s/driver.json"))
        assert held is not None
        assert held.id == lease.me.id
    assert store.names("drivers") == []


def test_a_sweep_that_was_taken_over_is_not_let_go(store: Store) -> None:
    with Lease(store, "s") as lease:
        with SweepLock(lease):
            other = elsewhere(store)
            store.put("sweeps/s/driver.json", other.json())
        assert store.get("sweeps/s/driver.json") == other.json()


@pytest.mark.parametrize(
    "content", [b'{"host": "gone", "pid": 1, "since": "2026-01-01T00:00:00+00:00"}', b"", b"{"]
)
def test_files_of_an_earlier_version_and_damaged_ones_do_not_block(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    for name in ("lock", "driver.json"):
        store.put(f"sweeps/s/{name}", content)
        grow_old(store, f"sweeps/s/{name}", 70.0)
    with Lease(store, "s") as lease, SweepLock(lease):
        pass
    assert store.names("sweeps/s") == ["lock"]


def test_a_file_that_is_just_being_written_is_held(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("claims/k.json", b"")
    with Lease(store, "s") as lease:
        assert Claims(lease).take("k") is not None
        grow_old(store, "claims/k.json", 70.0)
        assert Claims(lease).take("k") is None


def test_a_dead_taker_is_itself_taken_over(store: Store) -> None:
    """It died between marking and replacing; so did the one who would have followed it."""
    store.put("claims/k.json", elsewhere(store, 70.0, id="a").json())
    store.put("claims/k.json.a", elsewhere(store, 70.0, id="b").json())
    store.put("claims/k.json.a.b", elsewhere(store, 70.0, id="c").json())
    with Lease(store, "s") as lease:
        assert Claims(lease).take("k") is None
    assert store.names("claims") == ["k.json"]


def test_while_one_takes_over_others_wait(store: Store) -> None:
    store.put("claims/k.json", elsewhere(store, 70.0, id="a").json())
    store.put("claims/k.json.a", elsewhere(store, id="b").json())
    with Lease(store, "s") as lease:
        held = Claims(lease).take("k")
        assert held is not None
        assert held.id == "b"


def test_exactly_one_takes_over_from_the_dead(store: Store) -> None:
    """32 drivers, 40 keys of a dead one, in several orders."""
    dead, keys, drivers = elsewhere(store, 70.0), [f"k{i}" for i in range(40)], 32
    for key in keys:
        store.put(f"claims/{key}.json", dead.json())
    begin = threading.Barrier(drivers)

    def storm(i: int, lease: Lease) -> list[str]:
        begin.wait()
        return [key for key in keys[i:] + keys[:i] if take(lease, f"claims/{key}.json").by is None]

    with ExitStack() as stack, ThreadPoolExecutor(drivers) as pool:
        leases = [stack.enter_context(Lease(store, "s")) for _ in range(drivers)]
        won = [key for found in pool.map(storm, range(drivers), leases) for key in found]
    assert sorted(won) == sorted(keys)
    assert store.names("claims") == sorted(f"{key}.json" for key in keys)


STORM = """
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from orchestrator.records.claims import Claims
from orchestrator.records.lease import Lease
from orchestrator.records.store import Store

def storm(store, drivers, keys):
    def claim(one):
        i, lease = one
        claims = Claims(lease)
        return [key for key in keys[7 * i:] + keys[:7 * i] if claims.take(key) is None]
    with ExitStack() as stack, ThreadPoolExecutor(drivers) as pool:
        leases = [stack.enter_context(Lease(store, "s")) for _ in range(drivers)]
        found = [key for got in pool.map(claim, enumerate(leases)) for key in got]
        print(" ".join(found), flush=True)
        sys.stdin.read()
    return found
"""


def test_storm_of_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """16 drivers claim 500 keys of a store in memory."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    space: dict[str, object] = {}
    exec(STORM, space)
    keys = [f"key{i}" for i in range(500)]
    found = space["storm"](Store(f"memory://{tmp_path.name}"), 16, keys)  # type: ignore[operator]
    assert sorted(found) == sorted(keys)


def test_storm_of_processes(tmp_path: Path) -> None:
    """4 processes of 4 drivers each claim 500 keys of a folder; all live until all have ended."""
    script = STORM + "storm(Store(sys.argv[1]), 4, [f'key{i}' for i in range(500)])"
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", script, str(tmp_path)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )
            )
            for _ in range(4)
        ]  # fmt: skip
        found = [key for p in processes if p.stdout for key in p.stdout.readline().split()]
    assert Counter(found) == Counter(f"key{i}" for i in range(500))
    assert all(p.returncode == 0 for p in processes)


def test_a_claim_that_the_store_does_not_take_back_is_given_back_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    with Lease(store, "s") as lease:
        claims = Claims(lease)
        claims.take("k")
        claims.take("l")

        def away(self: Store, name: str) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(Store, "remove", away)
            claims.release("k")
        assert store.names("claims") == ["k.json", "l.json"]
        claims.release("l")
        assert store.names("claims") == []
