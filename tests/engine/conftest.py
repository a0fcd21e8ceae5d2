"""What the engine's tests share: one thread, a cache of their own, made-up data, short trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import components
from engine.checkpoint import load_weights
from engine.config import Trial
from engine.data.base import DataInfo
from engine.data.examples import Batch
from engine.identity import trial_key
from engine.models.catalog import config as model_config
from engine.report import Report, carry_on
from engine.result import Result
from engine.train import train

PLUGINS = Path(__file__).parent / "plugins"
DIGITS: dict[str, Any] = {
    "data": {"name": "digits", "train_size": 60},
    "model": "lenet5_8x8",
    "method": "standard",
    "epochs": 2,
    "batch_size": 20,
}
TEXTS: dict[str, Any] = {
    **DIGITS,
    "data": "toy_text",
    "model": {"name": "lstm", "embedding_dim": 6, "hidden": 5},
}
Weights = dict[str, Tensor]
AWP = {"kind": "relative", "gamma": 0.02, "steps": 2, "alternations": 2}
PGD = {"epsilon": 0.1, "steps": 3, "step_size": 0.05}
DROPPED = {"name": "lenet5_8x8", "dropout": 0.3}
FEW_LABELS = {
    "data": {"name": "digits", "train_size": 60, "labelled": 28},
    "batch_size": 8,
    "unlabelled_batch": 7,
    "model": DROPPED,
}
PSEUDO = {**FEW_LABELS, "init": {"from": {"method": "standard"}, "use": "labels"}}
LIVELY: dict[str, dict[str, Any]] = {
    "adaptive": {"method": {"n": 20, "steps": 2, "step_size": 0.2, "mode": "train"}, "model": DROPPED},
    "at": {"method": {**PGD, "norm": "l2", "epsilon": 1.0}},
    "at_awp": {"method": {**PGD, "weight": AWP}, "model": DROPPED},
    "dropattack": {"method": {"targets": ["input", "conv1.w"], "steps": 2, "epsilon": 1}, "model": DROPPED},
    "fgm": {"model": DROPPED},
    "fgsm": {"method": {"epsilon": 0.1}, "mixup": 0.4},
    "free_at": {"method": {"epsilon": 0.1}, "model": DROPPED},
    "freelb": {"model": DROPPED},
    "mart": {"method": PGD},
    "mart_awp": {"method": {**PGD, "weight": AWP | {"warmup": 1, "p": 0.5, "size_norm": "l1"}}},
    "pgd": {"schedule": "cosine"},
    "pi_model": {
        **FEW_LABELS,
        "method": {"ramp": 0, "weight": 5},
        "augment": {"crop": 1, "flip": True, "noise": 0.1, "cutout": 2},
    },
    "rst": {**PSEUDO, "method": {**PGD, "start_size": 0.05, "unlabelled": 0.5}},
    "rst_awp": {**PSEUDO, "method": {**PGD, "start_size": 0.05, "weight": AWP}},
    "sadd": {"method": {"delta": 0.2, "base": "bernoulli", "ramp": 2}, "model": DROPPED},
    "standard": {
        "schedule": "cyclic",
        "regularise": {"l1": 1e-4, "l2": 1e-3},
        "augment": {"rotation": 10},
        "model": DROPPED,
    },
    "temporal": {**FEW_LABELS, "method": {"ramp": 0, "weight": 5}},
    "trades": {"method": {**PGD, "start_size": 0.05}, "model": DROPPED},
    "trades_awp": {"method": {**PGD, "start_size": 0.05, "weight": AWP}},
    "vadd": {
        **FEW_LABELS,
        "method": {
            "delta": 0.2,
            "base": "bernoulli",
            "ramp": 0,
            "entropy": 0.5,
            "vat": {"epsilon": 1.0, "xi": 0.1},
        },
        "augment": {"noise": 0.1},
    },
    "vat": {**FEW_LABELS, "method": {"epsilon": 1.0, "xi": 0.1}},
}
"""Settings under which each preset does something within a few steps."""


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted once for all tests; no test writes anything else into it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERTURB_CACHE", str(shared_cache))
    return shared_cache


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums in one order, and no fight for the cores of a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    """The made-up text data set and the network with norms, and no plugin of another test."""
    held = dict(components._plugins)
    for plugin in ("toy_text.py", "normed.py"):
        components.load_plugin(PLUGINS / plugin)
    yield
    components._plugins.clear()
    components._plugins.update(held)


def build_trial(text: bool = False, **changes: Any) -> Trial:
    """Three steps an epoch, two epochs; ``changes`` replace any setting."""
    return Trial.model_validate({**(TEXTS if text else DIGITS), **changes})


def run_trial(
    trial: Trial, folder: Path, report: Report = carry_on, **options: Any
) -> tuple[Result, dict[str, Tensor]]:
    """Train; the result and the last weights (none when it was stopped)."""
    result = train(trial, report, folder, **{"keep": "last", **options})
    path = folder / "last.pt"
    weights = load_weights(path, torch.device("cpu")) if path.is_file() else {}
    return result, weights


def weights_equal(a: Weights, b: Weights) -> bool:
    """Bit for bit."""
    return bool(a) and a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def build_network(settings: dict[str, Any], seed: int = 0) -> tuple[nn.Module, Batch]:
    """A model in float64 (its initial weights in float32 precision) and a batch of six made-up examples."""
    torch.manual_seed(seed)
    config = model_config(settings)
    takes = config.takes() or (None, None, None)
    shape = tuple(t or s for t, s in zip(takes, (3, 8, 8), strict=True))
    info = DataInfo(config.kind, classes=3, shape=shape if config.kind == "image" else (), vocabulary=12)
    network = config.build(info).double()
    labels, index = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([4, 40, 7, 3, 11, 0])
    if config.kind == "image":
        return network, Batch((torch.rand(6, *shape, dtype=torch.float64),), labels, index)
    lengths = torch.tensor([4, 1, 3, 4, 2, 4])
    x_BT = torch.randint(1, 12, (6, 4)) * (torch.arange(4) < lengths[:, None])
    return network, Batch((x_BT,), labels, index, lengths)


def build_lively(method: str, **changes: Any) -> Trial:
    """A trial in which a preset does something; ``changes`` replace any setting but the method's."""
    lively = LIVELY[method]
    settings = {"name": method, **lively.get("method", {})}
    return build_trial(**{"optimizer": {"name": "sgd", "lr": 0.1}, **lively, **changes, "method": settings})


@pytest.fixture(scope="session")
def make_lively() -> Callable[..., Trial]:
    return build_lively


@pytest.fixture(scope="session")
def parents(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Trial], Path | None]:
    """The checkpoint that a trial starts from, each trained once."""
    trained: dict[str, Path] = {}

    def parent_of(trial: Trial) -> Path | None:
        parent = trial.parent()
        if parent is None:
            return None
        key = trial_key(parent)
        if key not in trained:
            folder = tmp_path_factory.mktemp("parent")
            train(parent, folder=folder, keep="best")
            trained[key] = folder / "best.pt"
        return trained[key]

    return parent_of


@pytest.fixture
def make_trial() -> Callable[..., Trial]:
    return build_trial


@pytest.fixture
def run() -> Callable[..., tuple[Result, Weights]]:
    return run_trial


@pytest.fixture
def same() -> Callable[[Weights, Weights], bool]:
    return weights_equal


@pytest.fixture
def make_network() -> Callable[..., tuple[nn.Module, Batch]]:
    return build_network
