from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.errors import InputError
from engine.evaluations import measure
from engine.evaluations.base import Subject
from engine.models.dropout import Dropout

Make = Callable[..., Any]


class Hidden(nn.Module):
    """One hidden layer of ReLU units and a dropout site; unit 0 is dead."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Linear(64, 20)
        self.drop = Dropout(0.5)
        self.decoder = nn.Linear(20, 10)
        with torch.no_grad():
            self.encoder.bias[0] = -100

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BC: Tensor = self.decoder(self.drop(self.encoder(x_BCHW.flatten(1)).relu()))
        return logits_BC


@pytest.fixture
def hidden(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> Subject:
    monkeypatch.setattr(measure, "BATCH", 33)
    return replace(subject, network=Hidden().eval())


def expected(subject: Subject, n: int) -> Any:
    batch = subject.data.test.batch(torch.arange(n))
    with torch.no_grad():
        return subject.network.encoder(batch.views[0].flatten(1)).relu().double().numpy()  # type: ignore[operator, union-attr]


def test_the_first_dropout_site(hidden: Subject, make: Make) -> None:
    found = make("activations", examples=100, bins=9).run(hidden)
    h = expected(hidden, 100)
    counts, edges = np.histogram(h, 9)
    rows = found.tables["activations"]
    assert [row["count"] for row in rows] == counts.tolist()
    assert [row["high"] for row in rows] == pytest.approx(edges[1:], rel=1e-6)
    assert [row["count"] for row in found.tables["means"]] == np.histogram(h.mean(0), 9)[0].tolist()
    assert found.metrics == pytest.approx(
        {
            "sparsity": (h == 0).mean(),
            "mean_activation": h.mean(),
            "max_activation": h.max(),
            "dead_units": (h == 0).all(0).mean(),
        },
        rel=1e-6,
    )
    assert found.metrics["dead_units"] >= 0.05
    assert found.examples == 100


def test_input_of_a_layer(hidden: Subject, make: Make) -> None:
    site = make("activations", examples=50).run(hidden)
    assert make("activations", examples=50, module="decoder", side="input").run(hidden) == site
    before = make("activations", examples=50, module="encoder").run(hidden)
    assert before.metrics["sparsity"] == 0


def test_one_axis_for_several_trials(hidden: Subject, make: Make) -> None:
    found = make("activations", examples=50, bins=2, span=(0.1, 0.3)).run(hidden)
    h = expected(hidden, 50)
    rows = found.tables["activations"]
    assert [row["low"] for row in rows] == pytest.approx([0.1, 0.2])
    assert sum(row["count"] for row in rows) == ((h >= 0.1) & (h <= 0.3)).sum()


def test_convolutions(subject: Subject, make: Make) -> None:
    found = make("activations", examples=30, module="conv1").run(subject)
    assert sum(row["count"] for row in found.tables["means"]) == 6 * 8 * 8
    assert sum(row["count"] for row in found.tables["activations"]) == 30 * 6 * 8 * 8


@pytest.mark.parametrize(("module", "said"), [("fc9", "fc1"), ("unused", "called")])
def test_bad_modules(subject: Subject, make: Make, module: str, said: str) -> None:
    subject.network.add_module("unused", nn.Linear(2, 2))
    with pytest.raises(InputError, match=said):
        make("activations", module=module).run(subject)


def test_no_hook_is_left(hidden: Subject, make: Make) -> None:
    make("activations", examples=10).run(hidden)
    assert not any(m._forward_hooks for m in hidden.network.modules())


def test_bad_span(make: Make) -> None:
    with pytest.raises(ValueError, match="span"):
        make("activations", span=(0.0, 0.0))
