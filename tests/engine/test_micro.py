"""Gradients accumulated over parts of a batch are those of the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.components import names
from engine.config import Trial
from engine.errors import InputError
from engine.train import train

Lively = Callable[..., Trial]
TEXT = {"model": {"name": "lstm", "embedding_dim": 6, "hidden": 5, "dropout": 0.3}, "batch_size": 13}
TEXTS: dict[str, Any] = {
    "dropattack": {"targets": ["embedding", "lstm.ih.w"], "steps": 2},
    "at_awp": {"epsilon": 0.1, "norm": "l2", "steps": 2},
    "adaptive": {"n": 15},
    "vadd": {"delta": 0.3, "ramp": 0, "base": "bernoulli"},
    "freelb": {},
}


def furthest(a: dict[str, Any], b: dict[str, Any]) -> float:
    return max((a[name] - b[name]).abs().max().item() for name in a)


@pytest.mark.parametrize("method", names("methods"))
def test_parts_make_the_whole(
    make_lively: Lively, parents: Any, run: Any, tmp_path: Path, method: str
) -> None:
    trial = make_lively(method, epochs=3)
    options = {"parent": parents(trial)}
    whole, expected = run(trial, tmp_path / "whole", **options)
    parts, found = run(trial, tmp_path / "parts", micro=3, **options)
    assert furthest(found, expected) < 1e-5
    for one, two in zip(whole.history, parts.history, strict=True):
        assert two == pytest.approx(one, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("method", list(TEXTS))
def test_parts_of_texts(make_trial: Any, run: Any, tmp_path: Path, method: str) -> None:
    trial = make_trial(True, method={"name": method, **TEXTS[method]}, **TEXT)
    _, expected = run(trial, tmp_path / "whole")
    _, found = run(trial, tmp_path / "parts", micro=4)
    assert furthest(found, expected) < 1e-5


def test_parts_hold_no_more_examples(
    make_trial: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.passes import Passes

    seen, logits = [], Passes.logits
    monkeypatch.setattr(Passes, "logits", lambda *a, **k: seen.append(len(a[1])) or logits(*a, **k))
    train(make_trial(method={"name": "at_awp", "steps": 2}, epochs=1), micro=7)
    assert set(seen) == {7, 6}, "20 = 7 + 7 + 6"


@pytest.mark.parametrize("norm", ["batch", "mean"])
def test_models_with_batch_normalisation_are_refused(make_trial: Callable[..., Trial], norm: str) -> None:
    trial = make_trial(model={"name": "normed", "norm": norm})
    with pytest.raises(InputError, match="micro: 4 is not legal: 0 for a model with batch norm"):
        train(trial, micro=4)
