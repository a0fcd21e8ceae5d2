from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from engine.errors import InputError
from engine.evaluations.base import Subject
from engine.evaluations.weights import moments

Make = Callable[..., Any]


def test_histograms_and_moments(subject: Subject, make: Make) -> None:
    found = make("weights", bins=7).run(subject)
    named = {n: p.detach().numpy().ravel() for n, p in subject.network.named_parameters() if p.dim() > 1}
    layers = {row["layer"]: row for row in found.tables["layers"]}
    assert list(layers) == list(named)
    for name, w in named.items():
        counts, edges = np.histogram(w.astype(np.float64), 7)
        rows = [row for row in found.tables["histogram"] if row["layer"] == name]
        assert [row["count"] for row in rows] == counts.tolist()
        assert [row["low"] for row in rows] == edges[:-1].tolist()
        assert rows[-1]["high"] == edges[-1]
        assert layers[name]["size"] == w.size == sum(row["count"] for row in rows)
        assert layers[name]["mean_abs"] == pytest.approx(np.abs(w).mean(), rel=1e-5)
        assert layers[name]["kurtosis"] == pytest.approx(stats.kurtosis(w.astype(float)), rel=1e-9)
    pooled = np.concatenate(list(named.values())).astype(float)
    assert found.metrics["skewness"] == pytest.approx(stats.skew(pooled), rel=1e-9)
    assert found.metrics["kurtosis"] == pytest.approx(stats.kurtosis(pooled), rel=1e-9)
    assert found.metrics["std"] == pytest.approx(pooled.std(), rel=1e-9)


def test_one_axis_for_several_trials(subject: Subject, make: Make) -> None:
    found = make("weights", bins=4, span=(-0.1, 0.1), layers=["fc?.weight"]).run(subject)
    rows = found.tables["histogram"]
    assert {row["layer"] for row in rows} == {"fc1.weight", "fc2.weight", "fc3.weight"}
    assert [row["low"] for row in rows[:4]] == pytest.approx([-0.1, -0.05, 0.0, 0.05], abs=1e-12)
    w = subject.network.get_parameter("fc1.weight").detach().double()
    assert sum(row["count"] for row in rows[:4]) == int(((w >= -0.1) & (w <= 0.1)).sum())


def test_equal_values_have_no_shape() -> None:
    assert moments(np.full(5, 2.0)) == {
        "mean": 2.0, "mean_abs": 2.0, "std": 0.0, "skewness": 0.0, "kurtosis": 0.0,
    }  # fmt: skip


def test_bad_input(subject: Subject, make: Make) -> None:
    with pytest.raises(InputError, match=r"fc1\.weight"):
        make("weights", layers=["fc1.weigth"]).run(subject)
    with pytest.raises(ValueError, match="span"):
        make("weights", span=(1.0, 0.0))
    with torch.no_grad():
        subject.network.get_parameter("fc2.weight")[0, 0] = float("nan")
    with pytest.raises(InputError, match="finite"):
        make("weights").run(replace(subject))


def test_examples_have_no_effect_on_the_key(make: Make) -> None:
    assert make("weights", examples=5, split="train", seed=3).canonical() == make("weights").canonical()
    assert make("weights", bins=5).canonical() != make("weights").canonical()
