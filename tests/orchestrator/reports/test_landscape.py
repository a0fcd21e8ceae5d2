from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.reports.figures import png
from orchestrator.reports.landscape import (
    Caption,
    contours,
    features,
    histograms,
    lines,
    robustness,
    sizes,
)

Rows = list[dict[str, Any]]
CAPTION = Caption("Test loss", 1000, "mnist, lenet5")


def line(steepness: float) -> Rows:
    return [
        {
            "direction": d,
            "alpha": a,
            "loss": (steepness + d) * a * a,
            "relative": a * a,
            "accuracy": 1 - a * a,
        }
        for d in (0, 1)
        for a in (-1.0, 0.0, 1.0)
    ]


def plane(steepness: float) -> Rows:
    return [
        {"direction": 0, "alpha": a, "beta": b, "loss": steepness * a + b, "relative": a, "accuracy": 0.5}
        for a in (-1.0, 0.0, 1.0)
        for b in (-2.0, 0.0, 2.0, 4.0)
    ]


def picture(figure: Any) -> None:
    with Image.open(io.BytesIO(png(figure))) as image:
        assert min(image.size) > 150


def test_lines_are_means_over_seeds_and_directions() -> None:
    figure = lines({"standard": [line(2.0), line(4.0)], "AWP": [line(1.0), line(1.0)]}, CAPTION)
    (axes,) = figure.axes
    assert np.asarray(axes.lines[0].get_ydata()) == pytest.approx([3.5, 0, 3.5])
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (0, 5)
    assert axes.get_legend().get_texts()[1].get_text() == "AWP (mean, range)"
    assert axes.get_ylabel() == "loss g, nats"
    assert axes.get_title(loc="left") == "Test loss\n2 seeds, 2 directions, n = 1,000 examples\nmnist, lenet5"
    picture(figure)


def test_accuracy_is_in_per_cent() -> None:
    (axes,) = lines({"a": [line(1.0)]}, CAPTION, "accuracy").axes
    assert np.asarray(axes.lines[0].get_ydata()) == pytest.approx([0, 100, 0])
    assert axes.get_ylabel() == "accuracy, %"


def test_contours_have_one_scale_and_alpha_to_the_right() -> None:
    figure = contours({"standard": plane(3.0), "DropAttack": plane(1.0)}, CAPTION)
    left, right, bar = figure.axes
    assert left.get_xlim() == (-1, 1)
    assert left.get_ylim() == (-2, 4)
    assert [axes.get_title() for axes in (left, right)] == ["standard", "DropAttack"]
    assert bar.get_ylim() == (-5, 7)
    assert bar.get_ylabel() == "loss g, nats"
    picture(figure)


def test_contours_above_the_scale_and_not_finite() -> None:
    table = plane(3.0)
    table[0]["loss"], table[1]["loss"] = math.nan, math.inf
    figure = contours({"standard": table}, CAPTION, highest=2.0)
    assert "above" in figure.axes[-1].get_ylabel()
    picture(figure)
    flat = [{**row, "loss": 1.0} for row in plane(0.0)]
    picture(contours({"flat": flat}, CAPTION))


def test_sizes_tell_the_kinds_apart() -> None:
    table = [
        {"kind": kind, "draw": draw, "gamma": g, "loss": 1 + scale * g + draw, "accuracy": 0.5}
        for kind, draws, scale in (("adversarial", 1, 1e4), ("random", 2, 1.0))
        for draw in range(draws)
        for g in (0.0, 0.01, 0.1)
    ]
    figure = sizes({"AT": [table]}, CAPTION)
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.lines[0].get_label() == "AT, adversarial"
    assert axes.lines[1].get_label() == "AT, random (mean, range)"
    assert np.asarray(axes.lines[1].get_ydata()) == pytest.approx([1.51, 1.6])
    assert [axes.lines[i].get_linestyle() for i in (0, 1)] == ["-", "--"]
    assert "2 random draws" in axes.get_title(loc="left")
    picture(figure)


def test_robustness_over_seeds() -> None:
    tables = [[{"epsilon": e, "accuracy": a - e} for e in (0.0, 0.1)] for a in (0.9, 0.7)]
    figure = robustness({"n = 100": tables}, CAPTION)
    (axes,) = figure.axes
    assert np.asarray(axes.lines[0].get_ydata()) == pytest.approx([80, 70])
    assert len(axes.collections) == 1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("ε, pixels in [0, 1]", "robust accuracy, %")
    one = robustness({"n = 100": tables[:1]}, CAPTION)
    assert not one.axes[0].collections
    assert "1 seed," in one.axes[0].get_title(loc="left")
    picture(figure)


def test_histograms_are_densities() -> None:
    table = [{"low": 0.0, "high": 0.5, "count": 3}, {"low": 0.5, "high": 1.0, "count": 1}]
    figure = histograms({"AT": table, "AT-AWP": table}, CAPTION, log=True)
    (axes,) = figure.axes
    stairs = axes.patches[0].get_data()
    assert stairs.values.tolist() == [1.5, 0.5]
    assert stairs.edges.tolist() == [0, 0.5, 1]
    assert axes.get_yscale() == "log"
    assert axes.get_legend().get_texts()[0].get_text() == "AT (4 values)"
    picture(figure)
    empty = [{**row, "count": 0} for row in table]
    picture(histograms({"AT": empty}, CAPTION))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_features_are_images_on_one_scale(channels: int) -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=(5, channels, 2, 3))
    places = ("unit", "channel", "row", "column")
    table = [{**dict(zip(places, at, strict=True)), "value": value} for at, value in np.ndenumerate(w)]
    figure = features(table, CAPTION, columns=4)
    assert len(figure.axes) == 8
    shown = figure.axes[4].images[0]
    if channels == 3:
        expected = (np.moveaxis(w[4], 0, -1) / np.abs(w).max() + 1) / 2
        assert np.asarray(shown.get_array()) == pytest.approx(expected)
    else:
        assert np.asarray(shown.get_array()) == pytest.approx(w[4].mean(0))
        assert shown.get_clim() == (-np.abs(w).max(), np.abs(w).max())
    assert not figure.axes[5].images
    picture(figure)
