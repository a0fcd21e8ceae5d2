"""What the evaluations' tests share: a network of digits trained for a few steps, as a subject."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.components import find
from engine.config import Trial
from engine.data.loading import load
from engine.distributed import Workers
from engine.evaluations.base import EvaluationConfig, Subject
from engine.models.catalog import config as model_config

CPU = torch.device("cpu")


def evaluation(name: str, **settings: Any) -> Any:
    """The validated settings of an evaluation."""
    config: EvaluationConfig = find("evaluations", name, "name").model_validate({"name": name, **settings})
    return config


@pytest.fixture(scope="session")
def trained(shared_cache: Path) -> Subject:
    """lenet5_8x8 after 40 steps of Adam on 600 digits."""
    trial = Trial.model_validate(
        {"data": "digits", "model": "lenet5_8x8", "method": "standard", "epochs": 1, "batch_size": 32}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERTURB_CACHE", str(shared_cache))
        data = load(trial.data, 0, CPU)
    torch.manual_seed(0)
    network = model_config(trial.model).build(data.info)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(40):
        batch = data.train.batch(torch.arange(32) + 32 * (step % 20))
        optimizer.zero_grad()
        assert batch.labels is not None
        nn.functional.cross_entropy(network(batch.views[0]), batch.labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return Subject(network.eval(), data, Workers())


@pytest.fixture
def subject(trained: Subject) -> Subject:
    """A copy of its own."""
    return replace(trained, network=copy.deepcopy(trained.network))


@pytest.fixture
def make() -> Callable[..., Any]:
    return evaluation


@pytest.fixture
def state() -> Callable[[nn.Module], dict[str, bytes]]:
    """Every weight and buffer of a network as bytes, with its modes and gradients."""

    def look(network: nn.Module) -> dict[str, bytes]:
        held = {n: t.numpy().tobytes() for n, t in network.state_dict().items()}
        modes = {f"{n}.training": bytes([m.training]) for n, m in network.named_modules()}
        grads = {f"{n}.grad": bytes([p.grad is None]) for n, p in network.named_parameters()}
        return held | modes | grads

    return look
