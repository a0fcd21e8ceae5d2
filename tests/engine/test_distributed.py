"""One worker and two give the same weights at an equal global batch, masks included.

The two processes are started once and train all cases; the single worker trains them here.
"""

from __future__ import annotations

import importlib.util
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
from engine.components import load_plugin, names
from engine.config import Trial
from engine.distributed import Workers, group, unsynchronised
from engine.models.norm import synchronise

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


NORMED: dict[str, Any] = {
    **IMAGE,
    "data": {"name": "digits", "train_size": 33},  # steps of 16, 16 and, empty for one worker, 1
    "model": {"name": "normed", "dropout": 0.2},
    "epochs": 4,
}
AWP = {"kind": "relative", "gamma": 0.02, "steps": 2}
PGD = {"epsilon": 0.1, "steps": 2, "step_size": 0.05}
WITH_NORMS: dict[str, dict[str, Any]] = {
    "norm": {"method": "standard"},
    "norm_mean": {"method": "standard", "model": {"name": "normed", "norm": "mean"}},
    "norm_dropattack": {"method": dropattack("input", "conv1.weight", steps=2)},
    "norm_at_awp": {"method": {"name": "at_awp", **PGD, "weight": AWP}},
    "norm_mart": {"method": {"name": "mart", **PGD}, "model": {"name": "normed", "norm": "mean"}},
    "norm_trades": {"method": {"name": "trades", **PGD, "start_size": 0.05}},
    "norm_vadd": {"method": {"name": "vadd", "delta": 0.2, "ramp": 0, "base": "bernoulli"}},
    "norm_free": {"method": {"name": "free_at", "epsilon": 0.1}},
    "norm_adaptive": {"method": {"name": "adaptive", "n": 5, "mode": "train", "perturbations": "refreshed"}},
    "norm_mixup": {"method": "standard", "mixup": 0.4},
}
LSTM_METHODS: dict[str, dict[str, Any]] = {
    "text_trades": {"name": "trades", **PGD, "start_size": 0.05},
    "text_at_awp": {"name": "at_awp", **PGD, "norm": "l2", "weight": AWP},
    "text_adaptive": {"name": "adaptive", "n": 15},
    "text_free": {"name": "free_at"},
    "text_freelb": {"name": "freelb"},
    "text_sadd": {"name": "sadd", "delta": 0.3, "base": "bernoulli"},
    "text_vat": {"name": "vat", "epsilon": 1.0, "xi": 0.1},
}
TEXT_DROPPED = {**TEXT, "model": {**TEXT["model"], "dropout": 0.3}, "epochs": 3}
CASES |= {name: {"trial": {**NORMED, **changes}} for name, changes in WITH_NORMS.items()}
CASES |= {name: {"trial": {**TEXT_DROPPED, "method": method}} for name, method in LSTM_METHODS.items()}
CASES["embedding_and_awp"] = {
    "trial": {
        **TEXT,
        "method": {
            "input": {"targets": ["embedding"], "epsilon": 1, "p": 0.5},
            "weight": {"kind": "relative", "gamma": 0.02},
        },
    }
}
CASES["lent_and_mixed"] = {"trial": {**IMAGE, "data": NORMED["data"], "method": "standard", "mixup": 0.4}}
FROZEN = {"name": "adaptive", "n": 20, "mode": "train"}
CASES["adaptive_refreshed"] = {"trial": {**IMAGE, "method": {**FROZEN, "perturbations": "refreshed"}}}
CASES["more_workers_than_labels"] = {
    "trial": {
        **IMAGE,
        "data": {"name": "digits", "train_size": 60, "labelled": 10},
        "batch_size": 1,
        "unlabelled_batch": 5,
        "epochs": 1,
        "optimizer": {"name": "sgd", "lr": 0.01},
        "method": {"name": "temporal", "ramp": 0},
    }
}
# Shares of 8 and 8, 6 and 6 in parts of 7: two on both workers, then one.
CASES["parts"] = {"trial": {**IMAGE, "method": dropattack(*BOTH, steps=2)}, "micro": 7}
CASES["unequal_parts"] = {"trial": {**TEXT_DROPPED, "method": LSTM_METHODS["text_at_awp"]}, "micro": 6}
PRESETS = names("methods")
STATEFUL = ["temporal", "free_at", "adaptive"]


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
def two_workers(
    tmp_path_factory: pytest.TempPathFactory,
    shared_cache: Path,
    make_lively: Callable[..., Trial],
    parents: Callable[[Trial], Path | None],
) -> Path:
    """The folder with what two workers made of each case."""
    out = tmp_path_factory.mktemp("two_workers")
    load_plugin(ROOT / "tests" / "engine" / "plugins" / "normed.py")
    for name in PRESETS:
        trial = make_lively(name, epochs=4)
        CASES[name] = {"trial": trial.model_dump(mode="json")}
        if (parent := parents(trial)) is not None:
            CASES[name]["parent"] = str(parent)
    for name in STATEFUL:  # stopped where two workers agree to, at the end of an epoch or after 16 steps
        trial = make_lively(name, epochs=2, steps_per_epoch=19)
        CASES[f"{name}_whole"] = {"trial": trial.model_dump(mode="json")}
        for stop in (1, 2, 3):
            CASES[f"{name}_stopped_{stop}"] = {**CASES[f"{name}_whole"], "stop": stop}
    cases = out / "cases.json"
    cases.write_text(json.dumps(CASES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERTURB_CACHE", str(shared_cache))
        ranks = processes(cases, out)
    try:
        complaints = [rank.communicate(timeout=240)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(complaints)
    return out


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())  # type: ignore[no-any-return]


def furthest(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    return max((a[name] - b[name]).abs().max().item() for name in a)


@pytest.mark.parametrize("name", sorted({*CASES, *PRESETS}))
def test_two_workers_train_as_one_does(
    two_workers: Path, run: Callable[..., Any], parents: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    """Weights, and running statistics where there are some."""
    trial = Trial.model_validate(CASES[name]["trial"])
    alone, weights = run(trial, tmp_path, parent=parents(trial))
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


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("name", STATEFUL)
def test_two_workers_take_up_what_a_method_carries_over(two_workers: Path, name: str, stop: int) -> None:
    whole, stopped = two_workers / f"{name}_whole", two_workers / f"{name}_stopped_{stop}"
    assert result_of(stopped)["history"] == result_of(whole)["history"]
    a, b = (load_weights(folder / "last.pt", CPU) for folder in (whole, stopped))
    assert all(torch.equal(a[n], b[n]) for n in a), "bit for bit"


@pytest.mark.parametrize("name", sorted({*CASES, *PRESETS}))
def test_the_wrapper_sees_one_forward_for_one_backward(two_workers: Path, name: str) -> None:
    """Two forwards through it before one backward break with BatchNorm on CUDA, while a CPU passes.

    Attacks and other probes differentiate the bare network: they are not among the calls.
    """
    calls = result_of(two_workers / name)["calls"]
    assert len(calls) >= 3 * 10
    assert calls == "LFB" * (len(calls) // 3)


KINDS = ["batch", "cumulative", "untracked", "mean"]


@pytest.fixture(scope="module")
def script() -> Any:
    """The module that the two processes run."""
    path = ROOT / "tests" / "engine" / "plugins" / "two_workers.py"
    spec = importlib.util.spec_from_file_location("two_workers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def agree(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_batch_normalisation_over_two_workers_is_torchs(two_workers: Path, script: Any, kind: str) -> None:
    expected = script.normalised(script.NORMS[kind](), script.norm_batches())
    first, second = (torch.load(two_workers / f"norms_{rank}.pt")[kind] for rank in (0, 1))
    for what in ("y", "dx"):
        assert agree(
            [torch.cat(pair) for pair in zip(first[what], second[what], strict=True)], expected[what]
        )
    assert agree([a + b for a, b in zip(first["dw"], second["dw"], strict=True)], expected["dw"])
    assert agree(first["buffers"], expected["buffers"])
    assert agree(second["buffers"], expected["buffers"])


@pytest.mark.parametrize("kind", KINDS)
def test_batch_normalisation_over_one_worker_is_torchs(tmp_path: Path, script: Any, kind: str) -> None:
    network = torch.nn.Sequential(script.NORMS[kind]())
    expected = script.normalised(script.NORMS[kind](), script.norm_batches())
    with group(0, 1, f"file://{tmp_path}/meet"):
        synchronise(network, CPU)
        assert not isinstance(network[0], torch.nn.BatchNorm2d)
        found = script.normalised(network, script.norm_batches())
    assert all(agree(found[what], expected[what]) for what in expected)


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
