"""A trained network on real digits, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.config import Trial
from engine.data.loading import load
from engine.distributed import Workers
from engine.evaluations.base import EvaluationConfig, Findings, Subject
from engine.evaluations.nested import evaluation
from engine.evaluations.run import restored
from engine.train import train

CPU = torch.device("cpu")
TRAINED: dict[str, Any] = {
    "data": "digits",
    "model": "lenet5_8x8",
    "method": "standard",
    "optimizer": {"name": "adam", "lr": 3e-3},
    "epochs": 8,
    "batch_size": 64,
}


@pytest.fixture(scope="session")
def trained(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trial, Path]:
    """A trial, and the weights that it kept."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERTURB_CACHE", str(shared_cache))
        trial = Trial.model_validate(TRAINED)
        assert train(trial, folder=folder, keep="best").best["test.accuracy"] > 0.85
    return trial, folder / "best.pt"


@pytest.fixture
def subject(trained: tuple[Trial, Path]) -> Subject:
    """The trained network, a new copy for each test."""
    trial, weights = trained
    data = load(trial.data, trial.seed, CPU)
    return Subject(restored(trial, data, weights, CPU).eval(), data, Workers())


@pytest.fixture
def text_subject(make_trial: Any) -> Subject:
    """A small recurrent network on made-up reviews, as initialised."""
    from engine.models.catalog import config as model_config

    trial = make_trial(text=True)
    data = load(trial.data, 0, CPU)
    torch.manual_seed(0)
    return Subject(model_config(trial.model).build(data.info, data.words).eval(), data, Workers())


def look(subject: Subject, name: str, **settings: Any) -> Findings:
    config: EvaluationConfig = evaluation({"name": name, **settings})
    return config.run(subject)


@pytest.fixture
def find() -> Any:
    """``find(subject, name, **settings)`` evaluates."""
    return look


@pytest.fixture
def make() -> Callable[..., Any]:
    """``make(name, **settings)`` gives validated settings of an evaluation."""

    def made(name: str, **settings: Any) -> EvaluationConfig:
        return evaluation({"name": name, **settings})

    return made


@pytest.fixture
def state() -> Callable[[nn.Module], dict[str, bytes]]:
    """Every weight and buffer of a network as bytes, with its modes and gradients."""

    def seen(network: nn.Module) -> dict[str, bytes]:
        held = {n: t.numpy().tobytes() for n, t in network.state_dict().items()}
        modes = {f"{n}.training": bytes([m.training]) for n, m in network.named_modules()}
        grads = {f"{n}.grad": bytes([p.grad is None]) for n, p in network.named_parameters()}
        return held | modes | grads

    return seen
