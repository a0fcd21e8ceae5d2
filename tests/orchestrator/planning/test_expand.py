from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import components
from orchestrator.planning.expand import expand, expand_one, probes
from orchestrator.sweepfile.problems import SweepError
from orchestrator.sweepfile.sweep import Sweep, from_dict, load

SWEEPS = Path(__file__).parents[3] / "sweeps"
TRIAL: dict[str, Any] = {
    "data": "digits",
    "model": "lenet5_8x8",
    "method": {"name": "dropattack", "targets": ["input", "conv1.w"]},
}
PLUGIN = """
from typing import Literal
from engine.data.base import Converted, DataConfig, DataInfo

class Config(DataConfig):
    name: Literal["tiny"]

    def info(self):
        return DataInfo("image", 10, {"train": 20, "val": 10, "test": 10}, (1, 8, 8))

    def content(self):
        return "0" * 64

    def convert(self, root):
        raise NotImplementedError
"""
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERTURB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def sweep(**blocks: Any) -> Sweep:
    return from_dict({"name": "a", "trial": TRIAL, **blocks})


def test_quickstart_has_49_points_and_43_cells() -> None:
    grid = expand(load(SWEEPS / "quickstart.yaml"))
    assert (len(grid.points), len(grid.cells)) == (49, 43)
    assert {point.cell for point in grid.points} == set(grid.cells)
    assert len({point.cell for point in grid.points if point.labels["method.p"] == 0}) == 1
    assert grid.points[8].labels == {"method.epsilon": 0.1, "method.p": 0.1}


@pytest.mark.parametrize(
    ("name", "points"), [("mnist_dropattack", 2), ("imdb_curve", 6), ("fashion_search", 0)]
)
def test_other_sweeps_expand(name: str, points: int) -> None:
    found = load(SWEEPS / f"{name}.yaml")
    grid = expand(found)
    assert len(grid.points) == len(grid.cells) == points
    for probe in probes(found):
        point, cell = expand_one(found, probe)
        assert (point.cell, point.labels) == (cell.key, probe)


def test_every_sweep_file_is_covered() -> None:
    assert {path.stem for path in SWEEPS.glob("*.yaml")} >= {"quickstart", "mnist_dropattack", "imdb_curve"}
    for path in SWEEPS.glob("**/*.yaml"):
        if "published" not in path.parts:
            assert path.read_text().startswith("# "), path
            expand(load(path))


def test_order_is_that_of_the_file() -> None:
    grid = expand(
        sweep(
            points={"x": None, "y": {"epochs": 3}},
            zip=[{"method.p": [0.1, 0.2], "batch_size": [8, 16]}],
            axes={"method.epsilon": [1, 2]},
        )
    )
    labels = [tuple(point.labels.values()) for point in grid.points]
    assert labels[:4] == [("x", 0.1, 8, 1), ("x", 0.1, 8, 2), ("x", 0.2, 16, 1), ("x", 0.2, 16, 2)]
    assert [*grid.points[0].labels] == ["point", "method.p", "batch_size", "method.epsilon"]
    assert [cell.trial.epochs for cell in grid.cells.values()] == [10] * 4 + [3] * 4
    assert [point.cell for point in grid.points] == list(grid.cells)


def test_a_whole_component_is_set_before_its_settings() -> None:
    for order in (("method.epsilon", "method"), ("method", "method.epsilon")):
        values = {"method.epsilon": [1, 2], "method": ["fgm", "pgd"]}
        grid = expand(sweep(axes={name: values[name] for name in order}))
        methods = [cell.trial.method.model_dump() for cell in grid.cells.values()]
        found = {(method["name"], method["epsilon"]) for method in methods}
        assert found == {("fgm", 1), ("fgm", 2), ("pgd", 1), ("pgd", 2)}


def test_an_axis_may_set_a_setting_of_the_default_optimizer() -> None:
    grid = expand(sweep(axes={"optimizer.lr": [1e-3, 1e-2]}))
    assert [cell.trial.optimizer.lr for cell in grid.cells.values()] == [1e-3, 1e-2]
    assert next(iter(grid.cells)) == next(iter(expand(sweep()).cells))


def test_no_axes_make_one_cell_with_the_first_seed() -> None:
    grid = expand(sweep(seeds=[4, 2]))
    (cell,) = grid.cells.values()
    assert grid.points[0].labels == {}
    assert cell.trial.seed == 4
    assert cell.run(2).seed == 2


def test_a_conditional_search_is_probed_where_it_exists() -> None:
    found = sweep(
        search={
            "method.steps": {"int": [1, 3]},
            "method.update": {"choice": ["replace", "accumulate"], "when": {"method.steps": [2, 3]}},
        },
        budget={"trials": 3},
    )
    assert list(probes(found)) == [
        {"method.steps": 1},
        {"method.steps": 3, "method.update": "replace"},
        {"method.steps": 2, "method.update": "replace"},
        {"method.steps": 2, "method.update": "accumulate"},
    ]


def test_expand_one_refuses_what_is_not_legal() -> None:
    found = sweep(search={"method.p": {"uniform": [0, 1]}}, budget={"trials": 3})
    with pytest.raises(SweepError, match=r"search\.method\.p: 2 is not legal: a number in \[0, 1\]"):
        expand_one(found, {"method.p": 2})


def test_a_plugin_is_found_beside_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "_plugins", {})
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "copy.py").write_text(PLUGIN)
    settings = {"name": "a", "trial": {**TRIAL, "data": "tiny"}}
    keys = {
        next(iter(expand(from_dict({**settings, "plugins": [p]}, tmp_path)).cells))
        for p in ("mine.py", "copy.py")
    }
    assert len(keys) == 1  # the path is not part of the key ...
    (tmp_path / "copy.py").write_text(PLUGIN + "\n# changed")
    assert (
        set(expand(from_dict({**settings, "plugins": ["copy.py"]}, tmp_path)).cells) != keys
    )  # the content is


def test_a_subset_larger_than_the_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "_plugins", {})
    (tmp_path / "mine.py").write_text(PLUGIN)
    found = from_dict(
        {
            "name": "a",
            "plugins": ["mine.py"],
            "trial": {**TRIAL, "data": "tiny"},
            "axes": {"data.train_size": [5, 21]},
        },
        tmp_path,
    )
    with pytest.raises(SweepError) as caught:
        expand(found)
    assert str(caught.value) == "axes.data.train_size: 21 is not legal: at most 20, the training examples"


def test_planning_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, orchestrator.sweepfile.schema\n"
        "from orchestrator.sweepfile.sweep import load\nfrom orchestrator.planning.expand import expand\n"
        f"expand(load({str(SWEEPS / 'quickstart.yaml')!r}))\n"
        "print([m for m in ('torch', 'ray', 'optuna', 'mlflow', 'pandas', 'sklearn') if m in sys.modules])"
    )
    environment = {**os.environ, "PERTURB_CACHE": str(tmp_path)}
    for expected in ("['torch']", "[]"):  # the first description of a model asks torch, the second the cache
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=SWEEPS.parent,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected


axes = st.fixed_dictionaries(
    {},
    optional={
        "method.epsilon": st.lists(st.sampled_from([0, 0.5, 1, 5]), min_size=1, max_size=3, unique=True),
        "method.p": st.lists(st.sampled_from([0, 0.3, 1]), min_size=1, max_size=3, unique=True),
        "method.steps": st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True),
        "optimizer.lr": st.lists(st.sampled_from([1e-3, 1e-2]), min_size=1, max_size=2, unique=True),
    },
)


@quick
@given(axes, st.integers(0, 3), st.integers(0, 2))
def test_points_are_the_product_of_all_lengths(grid: dict[str, list[Any]], zipped: int, points: int) -> None:
    blocks: dict[str, Any] = {"axes": grid}
    if zipped:
        rows = list(range(1, zipped + 1))
        blocks["zip"] = [{"epochs": rows, "batch_size": rows}]
    if points:
        blocks["points"] = {f"p{i}": {"method.clean_weight": i + 1} for i in range(points)}
    found = expand(sweep(**blocks))
    assert len(found.points) == prod(len(v) for v in grid.values()) * max(zipped, 1) * max(points, 1)
    assert {point.cell for point in found.points} == set(found.cells)
    for point in found.points:
        assert set(point.labels) >= set(grid)


@quick
@given(axes, st.randoms(use_true_random=False))
def test_the_order_of_keys_changes_no_key(grid: dict[str, list[Any]], order: random.Random) -> None:
    def shuffled(mapping: dict[str, Any]) -> dict[str, Any]:
        names = list(mapping)
        order.shuffle(names)
        return {n: shuffled(mapping[n]) if isinstance(mapping[n], dict) else mapping[n] for n in names}

    trial = {**TRIAL, "optimizer": {"name": "adam", "lr": 0.01, "eps": 1e-7}}
    first, second = (
        expand(sweep(trial=trial, axes=grid)),
        expand(sweep(trial=shuffled(trial), axes=shuffled(grid))),
    )
    by_labels = {frozenset(point.labels.items()): point.cell for point in first.points}
    assert {frozenset(point.labels.items()): point.cell for point in second.points} == by_labels


@quick
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["b", "other.name"]),
            "description": st.text(max_size=5, alphabet="abc "),
            "seeds": st.one_of(st.integers(1, 4), st.just([7, 3])),
            "resources": st.sampled_from([{"cpus": 2}, {"gpus": 0.25}, {"workers": 2, "gpus": 1}]),
            "budget": st.sampled_from([{"trials": 1}, {"hours": 2.5}]),
            "metric": st.sampled_from([{"name": "val.loss"}, {"checkpoint": "last"}]),
            "keep": st.sampled_from(["best", "last"]),
            "allow_test_selection": st.just(True),
            "reports": st.just([{"curve": "method.p"}]),
        },
    )
)
def test_what_is_not_the_trial_changes_no_key(blocks: dict[str, Any]) -> None:
    grid = {"method.p": [0.1, 0.9]}
    assert list(expand(sweep(axes=grid, **blocks)).cells) == list(expand(sweep(axes=grid)).cells)


def test_names_of_points_and_places_of_values_change_no_key() -> None:
    by_axis = expand(sweep(axes={"method.p": [0.1, 0.9]}))
    by_zip = expand(sweep(zip=[{"method.p": [0.1, 0.9]}]))
    by_point = expand(
        sweep(points={"low": {"method.p": 0.1}, "high": {"method": {**TRIAL["method"], "p": 0.9}}})
    )
    assert list(by_axis.cells) == list(by_zip.cells) == list(by_point.cells)
