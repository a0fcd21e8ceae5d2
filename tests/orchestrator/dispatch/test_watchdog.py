from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.dispatch import watchdog
from orchestrator.dispatch.watchdog import DRAIN_SECONDS, GRACE_SECONDS, Watchdog
from orchestrator.planning.job import cancel_flag
from orchestrator.records.store import Store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [1000.0]
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    import ray

    found: list[Any] = []
    monkeypatch.setattr(ray, "kill", found.append)
    return found


def trial(name: str) -> Any:
    return SimpleNamespace(trial_id=name, temporary_state=SimpleNamespace(ray_actor=f"actor of {name}"))


def watching(store: Store, *names: str, minutes: float = 0.0) -> Watchdog:
    dog = Watchdog(store, "s", minutes)
    for name in names:
        dog.started(name, f"key-{name}", trial(name))
    return dog


def test_silence_is_no_reason(tmp_path: Path, clock: Callable[[float], None], killed: list[Any]) -> None:
    dog = watching(Store(tmp_path), "a")
    for _ in range(10):
        clock(3600)
        dog.look()
    assert not killed


def test_a_trial_that_takes_too_long(
    tmp_path: Path, clock: Callable[[float], None], killed: list[Any]
) -> None:
    store = Store(tmp_path)
    dog = watching(store, "a", "b", minutes=1)
    clock(10_000)
    dog.look()
    assert not killed, "neither has begun"
    store.put("logs/key-a.log", b"")
    clock(2)
    dog.look()
    clock(60 + GRACE_SECONDS - 2)
    dog.look()
    assert not killed
    clock(3)
    dog.look()
    assert killed == ["actor of a"]
    ended = dog.ended_by_us("a")
    assert ended is not None
    assert ended[0] == "time-out"
    dog.ended("a")
    assert dog.ended_by_us("a") is None


def test_a_drain_has_its_time(tmp_path: Path, clock: Callable[[float], None], killed: list[Any]) -> None:
    dog = watching(Store(tmp_path), "a")
    dog.drain()
    clock(DRAIN_SECONDS - 1)
    dog.look()
    assert not killed
    clock(2)
    dog.look()
    clock(2)
    dog.look()
    assert killed == ["actor of a"], "once"
    assert dog.ended_by_us("a") == "stopped"


def test_one_is_cancelled(tmp_path: Path, clock: Callable[[float], None], killed: list[Any]) -> None:
    store = Store(tmp_path)
    dog = watching(store, "a", "b")
    store.put(cancel_flag("s", "key-b"), b"")
    store.put(cancel_flag("s", "key-c"), b"")
    clock(2)
    dog.look()
    clock(2)
    dog.look()
    assert killed == ["actor of b"], "once"
    dog.ended("b")
    assert store.names(cancel_flag("s", "")) == ["key-c"], "it ended; another's is left"


@pytest.mark.parametrize(("again", "left"), [(False, []), (True, ["key-a"])])
def test_a_request_to_cancel_goes_with_its_trial(
    tmp_path: Path, clock: Callable[[float], None], killed: list[Any], again: bool, left: list[str]
) -> None:
    store = Store(tmp_path)
    dog = watching(store, "a")
    store.put(cancel_flag("s", "key-a"), b"")
    clock(2)
    dog.look()
    assert killed == ["actor of a"]
    dog.ended("a", again=again)
    assert store.names(cancel_flag("s", "")) == left


def test_the_end_of_a_trial_that_nobody_cancelled_asks_nothing_of_the_store(
    tmp_path: Path, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    dog = watching(Store(tmp_path), "a")
    clock(2)
    dog.look()
    monkeypatch.setattr(dog, "store", None)
    dog.ended("a")
    assert not dog.running


def test_a_store_that_is_away_ends_nothing(
    tmp_path: Path, clock: Callable[[float], None], killed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dog = watching(Store(tmp_path), "a")

    def away(*words: Any) -> Any:
        raise OSError("away")

    monkeypatch.setattr(dog.store, "names", away)
    clock(2)
    dog.look()
    assert not killed
