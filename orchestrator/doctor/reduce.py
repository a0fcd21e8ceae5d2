"""An all-reduce as trials of several workers do it, with an end: NCCL on GPUs, gloo on CPUs.

python -m orchestrator.doctor.reduce RANK SIZE ADDRESS CUDA SECONDS
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from engine.errors import first_line
from orchestrator.doctor.result import Result

NUMBERS = 1 << 20
"""Floats that are summed, 4 MiB: enough for the path that gradients take."""


def all_reduce(rank: int, size: int, address: str, cuda: bool, seconds: float) -> float:
    """One rank of an all-reduce, checked: sum over ranks of (rank + 1) = n (n + 1) / 2. Collective.

    Args:
        rank: among ``size`` of them. address: where they meet, ``tcp://host:port``.
        cuda: NCCL on this process's GPU: the one that it sees, or that of its rank of several.
        seconds: a rank waits so long for the others.

    Returns:
        Milliseconds that the second of two took.

    Raises:
        RuntimeError: the ranks do not meet, or a sum is wrong.
    """
    import torch

    from engine.distributed import default_device, group

    device = torch.device("cpu")
    if cuda:
        device = default_device(rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
    took = 0.0
    with group(rank, size, address, device, timedelta(seconds=seconds)) as workers:
        for _ in range(2):
            x = torch.full((NUMBERS,), rank + 1.0, device=device)
            start = time.perf_counter()
            low, high = (float(value) for value in workers.total(x).aminmax())
            took = (time.perf_counter() - start) * 1000
            if not low == high == size * (size + 1) / 2:
                raise RuntimeError(
                    f"a sum between {low:g} and {high:g} where {size * (size + 1) / 2:g} is right"
                )
    return took


def among(size: int, cuda: bool, host: str, seconds: float) -> Result:
    """An all-reduce among processes of this node, one a rank.

    Args:
        size: how many. cuda: each on a GPU of its own. host: this node's address.
        seconds: all of it may take; processes that have not ended by then are ended.
    """
    check, address = name_of(cuda), free_address(host)
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    words = [str(size), address, str(int(cuda)), str(seconds)]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(rank), *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for rank in range(size)
    ]  # fmt: skip
    end = time.monotonic() + seconds
    said: list[str] = []
    try:
        for rank in ranks:
            said += [_said(rank, end - time.monotonic())]
    finally:
        for rank in ranks:
            if rank.poll() is None:
                rank.kill()
                rank.communicate()
    return judged(check, said, f"{size} processes")


def _said(rank: subprocess.Popen[str], seconds: float) -> str:
    """The last line of a rank: milliseconds, or what went wrong."""
    try:
        out, err = rank.communicate(timeout=max(seconds, 0.1))
    except subprocess.TimeoutExpired:
        return "no answer in time"
    lines = (out if rank.returncode == 0 else out + err).strip().splitlines()
    return lines[-1][:300] if lines else f"ended with code {rank.returncode}"


def judged(check: str, said: list[str], ranks: str) -> Result:
    """What came of an all-reduce. said: by each rank, milliseconds or what went wrong."""
    wrong = [text for text in said if not text.endswith(" ms")]
    if wrong:
        return Result(check, "fail", wrong[0], remedy_of(check))
    return Result(check, "ok", f"{said[0]} for 4 MiB over {ranks}")


def name_of(cuda: bool) -> str:
    """What the check is called."""
    return "all-reduce (nccl)" if cuda else "all-reduce (gloo)"


def remedy_of(check: str) -> str:
    """What to do where ranks do not meet."""
    if "nccl" in check:
        return "NCCL_SOCKET_IFNAME: the nodes' common interface; all ports open; NCCL_DEBUG=INFO tells more"
    return "GLOO_SOCKET_IFNAME: the nodes' common interface; all ports open; the host name in /etc/hosts"


def free_address(host: str) -> str:
    """A free port of this node, for ranks to meet at."""
    with socket.socket() as free:
        free.bind(("", 0))
        return f"tcp://{host}:{free.getsockname()[1]}"


def main(words: list[str]) -> int:
    """One rank in a process of its own; prints milliseconds, or what went wrong."""
    rank, size, address, cuda, seconds = words
    try:
        print(f"{all_reduce(int(rank), int(size), address, bool(int(cuda)), float(seconds)):.1f} ms")
    except (RuntimeError, ValueError, OSError, ImportError) as error:
        print(first_line(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
