"""What every evaluation keeps to, whichever files there are."""

from __future__ import annotations

import importlib.util
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from engine.components import names
from engine.data.base import DataInfo
from engine.errors import InputError
from engine.evaluations.base import EvaluationConfig, Findings, Subject
from engine.evaluations.nested import evaluation
from engine.models.base import ModelInfo
from engine.models.catalog import describe

SMALL: dict[str, dict[str, Any]] = {
    "pgd": {"steps": 2, "restarts": 2},
    "cw": {"steps": 2},
    "spsa": {"steps": 2, "samples": 2},
    "autoattack": {"attacks": ["apgd-ce", "fab", "square"], "queries": 5, "examples": 6, "epsilon": 0.05},
    "robust_curve": {"epsilons": [0, 0.1], "attack": {"name": "pgd", "steps": 2}},
    "gap": {"attack": "fgsm", "examples": 100},
}
ALL = names("evaluations")
ATTACKS = ["autoattack", "cw", "fgsm", "gap", "pgd", "robust_curve", "spsa"]


def settings(name: str) -> dict[str, Any]:
    if name == "autoattack" and importlib.util.find_spec("pyautoattack") is None:
        pytest.skip("an optional package")
    return {"name": name, **SMALL.get(name, {})}


def state(network: nn.Module) -> dict[str, Any]:
    """All that an evaluation could move."""
    return {
        "tensors": {n: t.clone() for n, t in network.state_dict(keep_vars=False).items()},
        "places": [t.data_ptr() for t in network.parameters()],
        "modes": [module.training for module in network.modules()],
        "wanted": [w.requires_grad for w in network.parameters()],
        "gradients": [None if w.grad is None else w.grad.clone() for w in network.parameters()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1],
        "python": random.getstate(),
        "gradient mode": torch.is_grad_enabled(),
    }


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return bool((a == b).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def test_the_attacks_are_found() -> None:
    assert {*ATTACKS, "clean"} <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_it_leaves_everything_as_it_was_and_finds_the_same_again(subject: Subject, name: str) -> None:
    config = evaluation(settings(name))
    first = next(subject.network.parameters())
    first.grad = torch.ones_like(first)
    before = state(subject.network)
    found = config.run(subject)
    after = state(subject.network)
    for part, held in before.items():
        assert same(held, after[part]), part
    again = config.run(subject)
    assert (again.metrics, again.tables, again.correct) == (found.metrics, found.tables, found.correct)


@pytest.mark.parametrize("name", ALL)
def test_what_it_finds_is_plain(subject: Subject, name: str) -> None:
    found: Findings = evaluation(settings(name)).run(subject)
    assert found.metrics or found.tables
    assert all(type(value) is float for value in found.metrics.values())
    rows = [value for table in found.tables.values() for row in table for value in row.values()]
    assert all(type(value) in (float, int, str) for value in rows)
    json.dumps([found.metrics, found.tables], allow_nan=False)
    if "examples" in SMALL.get(name, {}):
        assert found.examples == SMALL[name]["examples"]
    if name in ATTACKS:
        sizes = {len(bits) for which, bits in found.correct.items() if which != "train"}
        assert sizes == {(found.examples + 7) // 8}


@pytest.mark.parametrize("name", ALL)
def test_its_settings_are_checked_and_its_key_form_is_stable(name: str) -> None:
    config = evaluation(settings(name))
    assert isinstance(config, EvaluationConfig)
    assert evaluation(config.model_dump()) == config
    assert evaluation({**settings(name), "label": "x"}).canonical() == config.canonical()
    assert evaluation({**settings(name), "checkpoint": "last"}).canonical() != config.canonical()
    json.dumps(config.canonical())
    with pytest.raises(ValidationError):
        evaluation({**settings(name), "unheard_of": 1})


@pytest.mark.parametrize("name", [n for n in ALL if n not in ("activations", "features", "weights")])
def test_a_model_that_reconstructs_is_refused(name: str) -> None:
    data = DataInfo("image", classes=10, shape=(1, 28, 28))
    model = describe({"name": "autoencoder"})
    with pytest.raises(InputError, match="an evaluation of models that classify") as caught:
        evaluation(settings(name)).check(data, model)
    assert "\n" not in str(caught.value)
    evaluation(settings(name)).check(data, ModelInfo({}, {}, (), {}))


@pytest.mark.parametrize("name", [n for n in ATTACKS if n != "autoattack"])
def test_attacks_work_on_texts(text_subject: Subject, name: str, find: Callable[..., Findings]) -> None:
    config = evaluation(settings(name))
    config.check(text_subject.data.info, ModelInfo({}, {}, (), {}))
    before = state(text_subject.network)
    found = config.run(text_subject)
    assert same(before, state(text_subject.network))
    assert found.examples == 13
