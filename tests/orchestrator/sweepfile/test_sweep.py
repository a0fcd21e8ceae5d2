from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from orchestrator.sweepfile.overrides import written
from orchestrator.sweepfile.parts import Searched, repeated
from orchestrator.sweepfile.problems import SweepError
from orchestrator.sweepfile.sweep import Sweep, from_dict, load
from orchestrator.sweepfile.yaml_file import read_text

TRIAL = {"data": "digits", "model": "lenet5_8x8", "method": "dropattack"}


def sweep(**settings: Any) -> Sweep:
    return from_dict({"name": "a", "trial": TRIAL, **settings})


def test_defaults() -> None:
    plain = sweep()
    assert plain.seeds == (0,)
    assert (plain.metric.name, plain.metric.mode, plain.metric.checkpoint) == ("val.accuracy", "max", "best")
    assert (plain.resources.cpus, plain.resources.gpus, plain.resources.workers) == (1, 0, 1)
    assert (plain.budget.trials, plain.budget.hours) == (None, None)
    assert (plain.keep, plain.allow_test_selection, plain.plugins) == ("none", False, ())


@pytest.mark.parametrize(("given", "seeds"), [(3, (0, 1, 2)), ([4, 2], (4, 2)), (1, (0,))])
def test_seeds(given: Any, seeds: tuple[int, ...]) -> None:
    assert sweep(seeds=given).seeds == seeds


def test_a_loss_is_minimised_unless_the_file_says_otherwise() -> None:
    assert sweep(metric={"name": "val.loss"}).metric.mode == "min"
    assert sweep(metric={"name": "val.loss", "mode": "max"}).metric.mode == "max"
    assert sweep(metric={"name": "test.accuracy"}).metric.mode == "max"


def test_folder_and_text_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    text = "# why\nname: one\ntrial: {data: digits}\n"
    path.write_text(text)
    assert load(path).text == text
    assert load(path).folder == tmp_path


def test_overrides_are_in_the_text_as_it_was_run(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(
        "name: one\ntrial: {data: digits, method: fgm, optimizer: {name: adam, lr: 1e-3}}\n"
        "axes: {method.epsilon: &e [1, 2]}\npoints: {a.b: {}, c: {epochs: 3}}\nzip: [{batch_size: *e}]\n"
    )
    run = load(
        path,
        [
            "trial.epochs=1",
            "trial.method.norm_over=sample",
            "axes.method.epsilon=[3]",
            "points.a.b.select=val.loss",
            "zip.0.batch_size=[64, 128]",
            "seeds=2",
            "budget.hours=1e-1",
        ],
    )
    assert run.trial["epochs"] == 1
    assert run.trial["method"] == {"name": "fgm", "norm_over": "sample"}
    assert run.axes == {"method.epsilon": (3,)}
    assert run.points == {"a.b": {"select": "val.loss"}, "c": {"epochs": 3}}
    assert run.zip == ({"batch_size": (64, 128)},)
    assert run.budget.hours == 0.1
    (tmp_path / "again.yaml").write_text(run.text)
    assert load(tmp_path / "again.yaml").model_dump() == run.model_dump()
    assert run.text.startswith("# run with --set trial.epochs=1\n")


def test_an_override_of_an_alias_leaves_the_others_alone(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("name: one\ntrial: {data: digits}\npoints: {a: &a {epochs: 1}, b: *a}\n")
    assert load(path, ["points.a.epochs=2"]).points == {"a": {"epochs": 2}, "b": {"epochs": 1}}


def test_a_sweep_from_values_can_be_written_and_read_again() -> None:
    first = sweep(axes={"method.p": [0, 1e-3], "method.update": ["replace", "no"]}, seeds=2)
    assert from_dict(read_text(first.text).content).model_dump() == first.model_dump()
    assert read_text(written({"b": 1, "a": "no"}, ())).content == {"b": 1, "a": "no"}
    with pytest.raises(SweepError, match="plain values only"):
        sweep(axes={"method.p": [object()]})


def test_a_sweep_travels_between_processes(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(
        "name: one\ntrial: {data: digits}\nsearch: {method.p: {int: [0, 1]}}\nbudget: {trials: 3}"
    )
    there = pickle.loads(pickle.dumps(load(path)))
    assert there == load(path)
    assert (there.text, there.folder, there.source) == (load(path).text, tmp_path, load(path).source)


def test_searched_settings() -> None:
    kinds = {
        "uniform": {"uniform": [0, 1]},
        "log_uniform": {"log_uniform": [0.01, 10]},
        "int": {"int": [1, 3]},
        "choice": {"choice": ["a", "b"]},
    }
    for kind, settings in kinds.items():
        assert Searched.model_validate(settings).kind == kind
    assert Searched.model_validate(kinds["int"]).bounds == (1, 3)
    assert Searched.model_validate(kinds["choice"]).extremes == ("a", "b")
    with pytest.raises(TypeError, match="no bounds"):
        _ = Searched.model_validate(kinds["choice"]).bounds


def test_a_conditional_setting() -> None:
    one = Searched.model_validate({"int": [1, 3], "when": {"method.name": ["pgd", "dropattack"], "x": 1}})
    assert one.active({"method.name": "pgd", "x": 1})
    assert not one.active({"method.name": "fgm", "x": 1})
    assert not one.active({"method.name": "pgd"})


@pytest.mark.parametrize(
    ("values", "position"),
    [
        ([0, 0.0], 1),
        ([1, True], None),
        (["1", 1], None),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1.0}], 1),
        ([], None),
    ],
)
def test_repeated(values: list[Any], position: int | None) -> None:
    assert repeated(values) == position


def test_reports_of_a_search() -> None:
    space = {"method.p": {"uniform": [0, 1]}, "method.steps": {"int": [1, 3]}, "model": {"choice": ["a"]}}
    good = sweep(search=space, budget={"trials": 3}, reports=[{"grid": ["method.p", "method.steps"]}])
    assert good.reports[0].axes == ("method.p", "method.steps")
    for report, wanted in (
        ({"curve": "method.p"}, "not legal for a search"),
        ({"grid": ["method.p", "model"]}, "a searched number"),
        ({"grid": ["method.p", "method.stepz"]}, "did you mean 'method.steps'"),
    ):
        with pytest.raises(SweepError, match=wanted):
            sweep(search=space, budget={"trials": 3}, reports=[report])
