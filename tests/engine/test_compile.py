"""A compiled network, and one in another memory layout, train as the plain one does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from engine.config import Trial
from engine.train import train

METHODS: dict[str, Any] = {
    "dropattack": {"targets": ["input", "conv1.w"], "steps": 2},
    "at_awp": {"epsilon": 0.1, "steps": 2, "step_size": 0.05, "mode": "eval"},
    "vadd": {"delta": 0.3, "ramp": 0, "base": "bernoulli"},
}
MODELS = [{"name": "lenet5_8x8", "dropout": 0.3}, {"name": "normed", "dropout": 0.3}]


def losses(trial: Trial) -> list[float]:
    history = train(trial).history
    return [epoch[name] for epoch in history for name in ("train.loss", "val.loss")]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler needs one for C++")
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize(("method", "model"), [("dropattack", 0), ("at_awp", 1), ("vadd", 0)])
def test_a_compiled_network(make_trial: Callable[..., Trial], method: str, model: int) -> None:
    targets = {"targets": ["input", "conv1.weight"]} if method == "dropattack" else {}
    settings: Any = {"name": method, **METHODS[method], **targets}
    plain = make_trial(method=settings, model=MODELS[model], epochs=1)
    compiled = make_trial(method=settings, model=MODELS[model], epochs=1, compile=True)
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-4)


@pytest.mark.parametrize("model", MODELS, ids=["lenet", "normed"])
def test_memory_formats(make_trial: Callable[..., Trial], model: Any) -> None:
    method = {"name": "at_awp", "epsilon": 0.1, "steps": 2, "step_size": 0.05}
    trials = [
        make_trial(method=method, model=model, memory_format=layout)
        for layout in ("auto", "contiguous", "channels_last")
    ]
    auto, contiguous, last = map(losses, trials)
    assert auto == last, "on a CPU"
    assert last == pytest.approx(contiguous, rel=1e-4)


def test_texts_are_not_compiled(make_trial: Callable[..., Trial]) -> None:
    with pytest.raises(ValidationError, match="compile: True is not legal: false for text"):
        make_trial(True, compile=True)
