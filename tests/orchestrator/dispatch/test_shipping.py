"""Data that reach a node through Ray's object store; what several nodes do is in ``test_cluster.py``."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray

from engine.data.store import alone
from orchestrator.dispatch import shipping

NAME, CONTENT = "digits-0123.arrow", b"converted"
PATIENCE = 120.0
"""Seconds in which the other process has come as far."""


def unpack_beside_another(folder: Path, process: int) -> None:
    """As a trial's worker does; once both have found that the file is missing, and one may fetch it."""

    def get(reference: str) -> bytes:
        assert reference == "of the object store"
        (folder / f"fetched-{process}").touch()
        time.sleep(0.5)  # time for the other to fetch as well, were it let in
        return CONTENT

    @contextmanager
    def both_want_it(path: Path) -> Iterator[None]:
        (folder / f"wants-{process}").touch()
        ends = time.monotonic() + PATIENCE
        while len(list(folder.glob("wants-*"))) < 2 and time.monotonic() < ends:
            time.sleep(0.005)
        assert len(list(folder.glob("wants-*"))) == 2
        with alone(path):
            yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERTURB_CACHE", str(folder / "cache"))
        patch.setattr(ray, "get", get)
        patch.setattr(shipping, "alone", both_want_it)
        shipping.unpack({NAME: "of the object store"})
        assert (folder / "cache/data" / NAME).read_bytes() == CONTENT


def test_of_two_processes_of_a_node_one_fetches(tmp_path: Path) -> None:
    spawned = multiprocessing.get_context("spawn")
    both = [spawned.Process(target=unpack_beside_another, args=(tmp_path, i)) for i in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(2 * PATIENCE)
    assert [one.exitcode for one in both] == [0, 0]
    assert len(list(tmp_path.glob("fetched-*"))) == 1


def test_what_a_node_has_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURB_CACHE", str(tmp_path))
    fetched: list[str] = []
    monkeypatch.setattr(ray, "get", lambda reference: fetched.append(reference) or CONTENT)  # type: ignore[func-returns-value]
    for _ in range(2):
        shipping.unpack({NAME: "one", "other.arrow": "two"})
    assert fetched == ["one", "two"]
    assert (tmp_path / "data" / NAME).read_bytes() == CONTENT
