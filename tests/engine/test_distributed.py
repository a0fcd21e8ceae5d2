"""One worker and two give the same weights at an equal global batch, masks included.

The two processes are started once and train all cases; the single worker trains them here.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from engine.checkpoint import load_weights
from engine.config import Trial
from engine.distributed import Workers, unsynchronised

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
IMAGE: dict[str, Any] = {
    "data": {"name": "digits", "train_size": 60},
    "model": "lenet5_8x8",
    "batch_size": 16,  # steps of 16, 16, 16 and 12
    "epochs": 5,
    "optimizer": {"name": "sgd", "lr": 0.1},
}
TEXT: dict[str, Any] = {
    **IMAGE,
    "data": "toy_text",  # 40 examples: steps of 13, 13, 13 and, less than there are workers, 1
    "batch_size": 13,
    "model": {"name": "lstm", "embedding_dim": 6, "hidden": 5},
}


def dropattack(*targets: str, **settings: Any) -> dict[str, Any]:
    return {"name": "dropattack", "targets": list(targets), "epsilon": 1, "p": 0.5, **settings}


BOTH = ("input", "conv1.w")
ATTACK = {"targets": ["input"], "epsilon": 1, "p": 0.5}
FINE = {**IMAGE, "batch_size": 3, "epochs": 2, "method": dropattack(*BOTH)}  # 20 steps an epoch
CASES: dict[str, dict[str, Any]] = {
    "standard": {"trial": {**IMAGE, "method": "standard"}},
    "dropattack": {"trial": {**IMAGE, "method": dropattack(*BOTH)}},
    "dropattack_3": {"trial": {**IMAGE, "method": dropattack(*BOTH, steps=3, update="accumulate")}},
    "weights": {"trial": {**IMAGE, "method": dropattack("conv*", "fc1.b", steps=2, norm_over="joint")}},
    "sample": {"trial": {**IMAGE, "method": dropattack(*BOTH, steps=2, norm_over="sample")}},
    "clean_0": {"trial": {**IMAGE, "method": dropattack(*BOTH, clean_weight=0)}},
    "pgd": {"trial": {**IMAGE, "method": "pgd"}},
    "pgd_sample": {"trial": {**IMAGE, "method": {"name": "pgd", "norm_over": "sample"}}},
    "adam": {"trial": {**IMAGE, "method": dropattack(*BOTH), "optimizer": "adam"}},
    "text": {"trial": {**TEXT, "method": dropattack("embedding", "lstm.ih.w", steps=2)}},
    "activations": {"trial": {**TEXT, "method": dropattack("input", "lstm.*", input_as="activations")}},
    "text_pgd": {"trial": {**TEXT, "method": "pgd"}},
    "last": {"trial": {**IMAGE, "method": {"input": {**ATTACK, "steps": 3, "learn_from": "last"}}}},
    "fine": {"trial": FINE},
    "stopped": {"trial": FINE, "stop": 3},
}


def processes(cases: Path, out: Path) -> list[subprocess.Popen[str]]:
    """Two ranks, in the environment that ``torchrun`` gives them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "CUDA_VISIBLE_DEVICES": ""}
    script = Path(__file__).parent / "plugins" / "two_workers.py"
    command = [sys.executable, "-W", "error::UserWarning", str(script), str(cases), str(out)]
    environment = {**os.environ, **shared, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return [
        subprocess.Popen(
            command, env={**environment, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True
        )
        for rank in ("0", "1")
    ]


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """The folder with what two workers made of each case."""
    out = tmp_path_factory.mktemp("two_workers")
    cases = out / "cases.json"
    cases.write_text(json.dumps(CASES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERTURB_CACHE", str(shared_cache))
        ranks = processes(cases, out)
    try:
        complaints = [rank.communicate(timeout=120)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(complaints)
    return out


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())  # type: ignore[no-any-return]


def furthest(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return max((a[name] - b[name]).abs().max().item() for name in a)


@pytest.mark.parametrize("name", list(CASES))
def test_two_workers_train_as_one_does(
    two_workers: Path, run: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    trial = Trial.model_validate(CASES[name]["trial"])
    alone, weights = run(trial, tmp_path)
    shared = load_weights(two_workers / name / "last.pt", CPU)
    assert furthest(weights, shared) < 1e-5
    found = result_of(two_workers / name)
    assert found["status"] == alone.status == "completed"
    for one, two in zip(alone.history, found["history"], strict=True):
        assert two == pytest.approx(one, rel=1e-4, abs=1e-4)
    assert found["correct"] == {which: list(bits) for which, bits in alone.correct.items()}
    assert found["last"]["test.accuracy"] == alone.last["test.accuracy"]


@pytest.mark.parametrize("name", ["dropattack", "text", "activations"])
def test_other_masks_would_be_seen(
    two_workers: Path, run: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    settings = CASES[name]["trial"]
    almost = {**settings, "method": {**settings["method"], "p": 0.55}}  # a twentieth of the masks differ
    _, weights = run(Trial.model_validate(almost), tmp_path)
    assert furthest(weights, load_weights(two_workers / name / "last.pt", CPU)) > 1e-4


def test_two_workers_agree_to_stop_and_go_on(two_workers: Path) -> None:
    # Asked every 16 steps and at the ends of epochs: the third time after step 16 of the second epoch.
    whole, parts = (result_of(two_workers / name) for name in ("fine", "stopped"))
    assert parts["told"] == 3
    assert parts["history"] == [pytest.approx(epoch, rel=1e-12) for epoch in whole["history"]]
    a, b = (load_weights(two_workers / name / "last.pt", CPU) for name in ("fine", "stopped"))
    assert all(torch.equal(a[n], b[n]) for n in a), "bit for bit"


def test_rank_0_writes(two_workers: Path) -> None:
    assert {path.name for path in (two_workers / "standard").iterdir()} == {"last.pt", "result.json"}


@pytest.mark.parametrize(("size", "workers"), [(16, 2), (13, 2), (1, 2), (10, 4), (3, 4)])
def test_shares_are_contiguous_and_nearly_equal(size: int, workers: int) -> None:
    parts = [Workers(rank, workers).share(torch.arange(size)) for rank in range(workers)]
    assert torch.equal(torch.cat(parts), torch.arange(size))
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= 1


def test_one_worker_needs_no_group() -> None:
    alone, x = Workers(), torch.arange(3.0)
    network = torch.nn.Linear(1, 1)
    assert not isinstance(alone.wrap(network), DistributedDataParallel)
    assert torch.equal(alone.wrap(network)(lambda: x), x)
    assert alone.total(x) is x
    assert alone.mean(x) is x
    assert alone.agree(2) == 2
    assert alone.share(x) is x
    with unsynchronised(network):
        network(torch.ones(1, 1)).sum().backward()
    assert network.weight.grad is not None
