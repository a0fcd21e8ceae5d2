"""A picture for each evaluation that has something to draw."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.planning.cells import Point
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.row import Row
from orchestrator.reports.page import page
from orchestrator.reports.pictures import MOST_RUNS, pictures
from orchestrator.reports.summary import Measure

CURVE = [{"epsilon": 0.0, "accuracy": 0.9}, {"epsilon": 0.1, "accuracy": 0.4}]
LINE = [{"direction": 0, "alpha": a, "loss": a * a, "relative": a * a, "accuracy": 0.5} for a in (-1, 0, 1)]
PLANE = [{**row, "beta": b} for row in LINE for b in (-1, 0, 1)]
GROWING = [
    {"kind": kind, "draw": 0, "gamma": g, "loss": 1 + g, "accuracy": 0.5}
    for kind in ("adversarial", "random")
    for g in (0.0, 0.01, 0.1)
]
BINS = [{"layer": "fc.weight", "low": i / 4, "high": (i + 1) / 4, "count": i} for i in range(4)]
PIXELS = [
    {"unit": u, "channel": 0, "row": r, "column": c, "value": r - c}
    for u in (0, 1) for r in (0, 1) for c in (0, 1)
]  # fmt: skip
TABLES: dict[str, dict[str, Any]] = {
    "robust_curve": {"curve": CURVE},
    "landscape": {"landscape": LINE},
    "weight_perturbation": {"weight_perturbation": GROWING},
    "weights": {"histogram": BINS},
    "activations": {"activations": [{k: v for k, v in row.items() if k != "layer"} for row in BINS]},
}


def rows_of(name: str, tables: dict[str, Any], cells: int = 2) -> tuple[list[Point], list[Row]]:
    points = [Point({"point": f"p{i}"}, f"c{i}") for i in range(cells)]
    rows = []
    for point in points:
        for seed in (0, 1):
            key = f"{point.cell}{seed}"
            found = EvaluationRow(f"e{key}", key, point.cell, seed, "best", name, "look", "completed",
                                  tables=tables, examples=10)  # fmt: skip
            rows.append(Row(key, point.cell, seed, "completed", {}, {}, evaluations={"look": found}))
    return points, rows


def is_png(content: bytes) -> bool:
    return content.startswith(b"\x89PNG") and len(content) > 3000


@pytest.mark.parametrize("name", TABLES)
def test_one_picture(name: str) -> None:
    found = pictures(*rows_of(name, TABLES[name]), seeds=[0, 1])
    assert list(found) == ["look.png"]
    assert is_png(found["look.png"])
    assert found == pictures(*rows_of(name, TABLES[name]), seeds=[0, 1]), "equal rows give equal bytes"


def test_a_plane_is_drawn_as_contours() -> None:
    line = pictures(*rows_of("landscape", {"landscape": LINE}), seeds=[0, 1])
    plane = pictures(*rows_of("landscape", {"landscape": PLANE}), seeds=[0, 1])
    assert is_png(plane["look.png"])
    assert plane["look.png"] != line["look.png"]


def test_features_have_a_picture_a_cell() -> None:
    found = pictures(*rows_of("features", {"features": PIXELS}), seeds=[0, 1])
    assert list(found) == ["look_p0.png", "look_p1.png"]


def test_nothing_to_draw() -> None:
    assert pictures(*rows_of("clean", {}), seeds=[0, 1]) == {}
    assert pictures(*rows_of("clean", {"other": CURVE}), seeds=[0, 1]) == {}


def test_too_many_cells_are_cut() -> None:
    many = pictures(*rows_of("robust_curve", {"curve": CURVE}, MOST_RUNS + 3), seeds=[0, 1])
    most = pictures(*rows_of("robust_curve", {"curve": CURVE}, MOST_RUNS), seeds=[0, 1])
    assert is_png(many["look.png"])
    assert many["look.png"] != most["look.png"], "the caption says that there are more"


def test_the_page_holds_them() -> None:
    points, rows = rows_of("robust_curve", {"curve": CURVE})
    html = page(
        "s", "", points, rows, Measure("val.accuracy"), [0, 1], [], {"a&b.png": b"x"}, "name: s", False
    )
    assert "data:image/png;base64,eA==" in html
    assert "a&amp;b" in html
