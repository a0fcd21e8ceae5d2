from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine.data.base import DataInfo
from engine.errors import InputError
from engine.evaluations.base import Findings, Subject
from engine.models.base import ModelInfo

Make = Callable[..., Any]


def images(findings: Findings, shape: tuple[int, ...]) -> Any:
    """The table as w_UCIJ, by its own coordinates."""
    w = np.full(shape, np.nan)
    for row in findings.tables["features"]:
        w[row["unit"], row["channel"], row["row"], row["column"]] = row["value"]
    return w


def test_filters_of_a_convolution(subject: Subject, make: Make) -> None:
    found = make("features", units=4).run(subject)
    w = subject.network.get_parameter("conv1.weight").detach().double().numpy()
    assert np.array_equal(images(found, (4, 1, 3, 3)), w[:4])
    assert len(found.tables["features"]) == 4 * 9
    assert found.metrics["mean_abs"] == pytest.approx(np.abs(w).mean())


def test_rows_of_a_linear_layer_as_images(subject: Subject, make: Make) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        network[1].weight[3] *= 1e-3  # type: ignore[operator, index]
    found = make("features").run(replace(subject, network=network))
    w = network.get_parameter("1.weight").detach().double().numpy()
    assert np.array_equal(images(found, (10, 1, 8, 8)), w.reshape(10, 1, 8, 8))
    assert found.metrics["small_units"] == pytest.approx(0.1)


@pytest.mark.parametrize(("layer", "said"), [("fc2.weight", "1x8x8 pixels"), ("conv9", "conv1")])
def test_bad_layers(subject: Subject, make: Make, layer: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make("features", layer=layer).run(subject)


def test_checked_before_anything_is_trained(make: Make) -> None:
    info = ModelInfo({}, {}, ("conv1.weight",), {})
    image, text = DataInfo("image", 10, shape=(1, 8, 8)), DataInfo("text", 2)
    make("features", layer="conv1.weight").check(image, info)
    with pytest.raises(InputError, match="images"):
        make("features").check(text, info)
    with pytest.raises(InputError, match=r"conv1\.weight"):
        make("features", layer="conv1.weigth").check(image, info)
