"""The part of the examination that every run does."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.doctor import checks, nodes, quick
from orchestrator.doctor.quick import NotReady, ready
from orchestrator.doctor.result import Result
from orchestrator.driver import run
from orchestrator.options import Options
from orchestrator.records.store import Store
from tests.orchestrator.sweeps import sweep_of


def test_a_sound_store_is_said_nothing_of(tmp_path: Path) -> None:
    said: list[str] = []
    ready(Store(tmp_path / "store"), None, said.append)
    ready(Store(f"memory://{tmp_path.name}"), None, said.append)
    assert [line for line in said if "store:" in line] == []
    assert not (tmp_path / "store").exists()


def refuse(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_store_that_refuses_stops_the_run_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "put", refuse)
    with pytest.raises(NotReady, match=r"^store: driver: \[Errno 28\] No space left on device; --store: "):
        run(sweep_of(), Options(str(tmp_path), local=True, track=False))


def test_a_run_with_nothing_to_do_is_not_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(str(tmp_path), local=True, track=False)
    sweep = sweep_of(axes={"method.epsilon": [1]}, reports=[])
    assert run(sweep, options).exit_code == 0
    monkeypatch.setattr("orchestrator.driver.ready", refuse)
    assert run(sweep, options).exit_code == 0


def test_little_room_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: SimpleNamespace(free=1e6, total=1e12))
    said: list[str] = []
    ready(Store(tmp_path), None, said.append)
    assert [line.split(":")[:3] for line in said] == [
        ["warning", " store disk", " driver"], ["warning", " cache", " driver"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("finding", "refused"),
    [
        (Result("answer", "fail", "no answer within 5 s", "look", "n1"), False),
        (Result("versions", "fail", "torch 1", "one image", "n1"), False),
        (Result("clock", "fail", "+40 s", "chrony", "n1"), False),
        (Result("store", "fail", "/x is not here", "share it", "n1"), True),
    ],
)
def test_only_a_store_out_of_reach_refuses_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finding: Result, refused: bool
) -> None:
    monkeypatch.setattr(quick, "at_once", lambda *_: [finding])
    said: list[str] = []
    if refused:
        with pytest.raises(NotReady, match="store: n1: /x is not here; share it"):
            ready(Store(tmp_path), "auto", said.append)
        assert said == []
    else:
        ready(Store(tmp_path), "auto", said.append)
        assert said == [f"warning: {finding.check}: n1: {finding.found}; {finding.remedy}"]


@pytest.mark.usefixtures("ray_session")
def test_the_nodes_of_a_real_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    ready(Store(tmp_path), "auto", said.append, seconds=60)
    assert said == []
    monkeypatch.setattr(quick, "code_hash", lambda: "0" * 64)
    ready(Store(tmp_path), "auto", said.append, seconds=60)
    (line,) = said
    assert line.startswith("warning: code: ")
    assert nodes.living([]) == []


def test_it_travels_between_processes() -> None:
    error = NotReady("store: n1", "not here", "share it")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "store: n1: not here; share it"
