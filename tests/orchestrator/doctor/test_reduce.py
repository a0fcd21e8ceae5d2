"""An all-reduce between real processes, and what is told of one that fails."""

from __future__ import annotations

import time
from typing import Any

import pytest

from orchestrator.doctor import reduce
from orchestrator.doctor.reduce import all_reduce, among, free_address, judged, main


@pytest.mark.slow  # two interpreters import torch
def test_two_processes_on_this_cpu() -> None:
    result = among(2, cuda=False, host="127.0.0.1", seconds=60)
    assert (result.status, result.check) == ("ok", "all-reduce (gloo)"), result.found
    assert "ms for 4 MiB over 2 processes" in result.found


def test_a_rank_alone_gives_up_in_time(capsys: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    assert main(["0", "2", free_address("127.0.0.1"), "0", "0.5"]) == 1
    assert time.monotonic() - start < 30
    assert not capsys.readouterr().out.strip().endswith(" ms")


def test_a_wrong_sum_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.distributed import Workers

    assert all_reduce(0, 1, free_address("127.0.0.1"), False, 30) >= 0
    monkeypatch.setattr(Workers, "total", lambda self, x: x + 1)
    with pytest.raises(RuntimeError, match="a sum between 2 and 2 where 1 is right"):
        all_reduce(0, 1, free_address("127.0.0.1"), False, 30)


def test_processes_that_hang_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    real = reduce.subprocess.Popen

    def hanging(words: list[str], **options: Any) -> Any:
        started.append(real([words[0], "-c", "import time; time.sleep(600)"], **options))
        return started[-1]

    monkeypatch.setattr(reduce.subprocess, "Popen", hanging)
    result = among(2, cuda=True, host="127.0.0.1", seconds=0.2)
    assert (result.status, result.found) == ("fail", "no answer in time")
    assert "NCCL_SOCKET_IFNAME" in result.remedy
    assert all(process.poll() is not None for process in started)


def test_the_first_rank_that_fails_is_told() -> None:
    assert judged("all-reduce (gloo)", ["1.0 ms", "2.0 ms"], "2 processes").found.startswith("1.0 ms")
    result = judged("all-reduce (gloo)", ["1.0 ms", "connection refused"], "2 processes")
    assert (result.status, result.found) == ("fail", "connection refused")
    assert "GLOO_SOCKET_IFNAME" in result.remedy
