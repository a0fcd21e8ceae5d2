"""Every kind of bad input gives exactly one readable line."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from orchestrator.planning.expand import expand
from orchestrator.sweepfile.problems import Problem, Source, SweepError, show
from orchestrator.sweepfile.sweep import load

BASE = """\
name: example
trial:
  data: digits
  model: lenet5_8x8
  method: {name: dropattack, targets: [input, conv1.w], steps: 1}
  optimizer: {name: adam, lr: 1e-3}
  epochs: 10
axes:
  method.epsilon: [0.01, 1]
  method.p: [0, 0.5, 1]
seeds: 2
metric: {name: val.accuracy}
resources: {cpus: 1}
"""
SEARCH = """\
name: search
trial: {data: digits, model: lenet5_8x8, method: dropattack}
search:
  method.p: {uniform: [0, 1]}
  method.steps: {int: [1, 3]}
budget: {trials: 4}
"""


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERTURB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def problems(folder: Path, text: str, overrides: Sequence[str] = ()) -> tuple[str, ...]:
    path = folder / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(SweepError) as caught:
        expand(load(path, overrides))
    return caught.value.problems


def change(old: str, new: str, text: str = BASE) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


ONE_LINE = [
    # unknown settings, at every level
    ("seeds: 2", "seds: 2", "11: seds: unknown setting; did you mean 'seeds'? known: allow_test_selection,"),
    ("seeds: 2", "epochs: 2", "11: epochs: unknown setting; it belongs to the trial: trial.epochs"),
    (
        "  epochs:",
        "  epoch:",
        "7: trial.epoch: unknown setting; did you mean 'epochs'? known: attacks, ",
    ),
    ("steps: 1", "step: 1", "5: trial.method.step: unknown setting of dropattack; did you mean 'steps'?"),
    ("lr: 1e-3", "lrr: 1e-3", "6: trial.optimizer.lrr: unknown setting of adam; did you mean 'lr'?"),
    ("data: digits", "data: {name: digits, size: 3}", "3: trial.data.size: unknown setting of digits;"),
    (
        "lenet5_8x8",
        "{name: lenet5_8x8, a: 3}",
        "4: trial.model.a: unknown setting of lenet5_8x8; known: dropout, name, normalize",
    ),
    (
        "cpus: 1",
        "cpu: 1",
        "13: resources.cpu: unknown setting; did you mean 'cpus'? known: cpus, gpus, micro, workers",
    ),
    ("method.p:", "method.gamma:", "10: axes.method.gamma: unknown setting of dropattack; known: clamp,"),
    ("method.p:", "p:", "10: axes.p: unknown setting; did you mean 'method.p'?"),
    # wrong types and ranges
    ("epochs: 10", 'epochs: "3"', "7: trial.epochs: '3' is not legal: a whole number >= 1"),
    ("epochs: 10", "epochs: true", "7: trial.epochs: true is not legal: a whole number >= 1"),
    ("epochs: 10", "epochs: 1.5", "7: trial.epochs: 1.5 is not legal: a whole number >= 1"),
    ("[0.01, 1]", "[0.01, -1]", "9: axes.method.epsilon: -1 is not legal: a number >= 0"),
    ("[0.01, 1]", "[0.01,\n    -1]", "10: axes.method.epsilon: -1 is not legal: a number >= 0"),
    ("[0.01, 1]", "[0.01, {input: -1}]", "9: axes.method.epsilon: -1 is not legal: a number >= 0"),
    ("0.5, 1]", "0.5, 1.5]", "10: axes.method.p: 1.5 is not legal: a number in [0, 1]"),
    ("steps: 1", "steps: 0", "5: trial.method.steps: 0 is not legal: a whole number >= 1"),
    ("steps: 1", "update: replac", "5: trial.method.update: 'replac' is not legal: did you mean 'replace'?"),
    ("lr: 1e-3", "lr: 0", "6: trial.optimizer.lr: 0 is not legal: a number > 0"),
    ("lr: 1e-3", "betas: [0.9]", "6: trial.optimizer.betas.1: is missing: a number in [0, 1]"),
    ("seeds: 2", "seeds: 0", "11: seeds: 0 is not legal: a whole number >= 1 or a list"),
    ("seeds: 2", "seeds: true", "11: seeds: true is not legal: a whole number >= 1 or a list"),
    ("example", "a/b", "1: name: 'a/b' is not legal: letters, digits, - _ . and no . in front"),
    ("cpus: 1", "cpus: 0", "13: resources.cpus: 0 is not legal: a number > 0"),
    # names
    ("digits", "digit", "3: trial.data.name: 'digit' is not legal: did you mean 'digits'? known:"),
    ("lenet5_8x8", "lenet", "4: trial.model.name: 'lenet' is not legal: did you mean 'lenet5'? known:"),
    (
        "dropattack,",
        "dropatack,",
        "5: trial.method.name: 'dropatack' is not legal: did you mean 'dropattack'?",
    ),
    ("name: adam", "name: adamm", "6: trial.optimizer.name: 'adamm' is not legal: did you mean 'adam'?"),
    (
        "conv1.w",
        "conv9.w",
        "5: trial.method.targets.1: 'conv9.w' is not legal: no parameter matches; did you mean",
    ),
    (
        "val.accuracy",
        "val.acuracy",
        "12: metric.name: 'val.acuracy' is not legal: did you mean 'val.accuracy'?",
    ),
    # axes, zips, points
    ("[0, 0.5, 1]", "[]", "10: axes.method.p: [] is not legal: a list of at least one value"),
    ("[0, 0.5, 1]", "0.5", "10: axes.method.p: 0.5 is not legal: a list of at least one value"),
    ("[0, 0.5, 1]", "[0, 0.5, 0.0]", "10: axes.method.p: 0.0 is not legal: values that differ"),
    ("seeds: 2", "seeds: [1, 2, 1]", "11: seeds.2: 1 is not legal: seeds that differ"),
    ("seeds: 2", "seeds: 2\nseeds: 3", "12: seeds: stands twice, first in line 11"),
    (
        "axes:",
        "zip:\n  - {method.steps: [1, 2], method.update: [replace]}\naxes:",
        "9: zip.0: is not legal: lists of one length; method.steps has 2, method.update has 1",
    ),
    (
        "axes:",
        "zip: [{method.p: [0, 1]}]\naxes:",
        "8: zip.0.method.p: is not legal: a setting stands in one axis; it is in axes.method.p too",
    ),
    (
        "axes:",
        "points: {a: {}, b: {method.p: 1}}\naxes:",
        "8: points.b.method.p: is not legal: a setting stands in one axis; it is in axes.method.p too",
    ),
    ("method.p:", "seed:", "10: axes.seed: is not legal here: seeds: n stands at the top of the file"),
    ("  epochs: 10", "  seed: 1", "7: trial.seed: is not legal here: seeds: n stands at the top of the file"),
    # what the blocks say of each other
    (
        "data: digits",
        "data: {name: digits, train_size: 99999}",
        "3: trial.data.train_size: 99999 is not legal: at most 1437, the training examples",
    ),
    ("lenet5_8x8", "lenet5", "4: trial.model.name: 'lenet5' is not legal: a model for 1 x 8 x 8 images"),
    ("cpus: 1", "gpus: 0.5, workers: 2", '13: resources: {"gpus": 0.5, "workers": 2} is not legal: a whole'),
    ("cpus: 1", "gpus: 1.5", '13: resources: {"gpus": 1.5} is not legal: gpus is a fraction below 1, or'),
    (
        "seeds: 2",
        "reports: [{grid: [method.epsilon, method.pp]}]",
        "11: reports.0.grid: 'method.pp' is not legal: an axis of this sweep; did you mean 'method.p'?",
    ),
    ("seeds: 2", "reports: [{table: points}]", "11: reports.0.table: is not legal: a table of points needs"),
    ("seeds: 2", "reports: [{grid: [a, a]}]", "11: reports.0.grid: "),
    ("seeds: 2", "reports: [{}]", "11: reports.0: {} is not legal: exactly one of {grid: [x, y]}, "),
    ("seeds: 2", "plugins: [none.py]", "11: plugins.0: "),
    (
        "  epochs: 10",
        "  init: {from: {method.steps: -1}}",
        "7: trial.init.from.method.steps: -1 is not legal: a whole number >= 1",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), ONE_LINE)
def test_bad_input_is_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    found = problems(tmp_path, change(old, new))
    assert len(found) == 1, found
    assert found[0].startswith(f"sweep.yaml:{message}")
    assert "\n" not in found[0]


def test_missing_settings_say_what_is_legal(tmp_path: Path) -> None:
    found = problems(tmp_path, change("  data: digits\n", ""))
    assert len(found) == 1
    assert found[0].startswith("sweep.yaml:2: trial.data: is missing: '")
    assert " or 'digits' or " in found[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("budget: {trials: 4}\n", "", "1: budget.trials: is missing: a search needs one"),
        ("{trials: 4}", "{hours: 4}", "6: budget.trials: is missing: a search needs one"),
        ("{trials: 4}", "{trials: 1}\nseeds: 2", "6: budget.trials: 1 is not legal: a whole number >= 2"),
        (
            "{trials: 4}",
            "{trials: 4}\nmetric: {name: test.loss}",
            "7: metric.name: 'test.loss' is not legal: a val",
        ),
        ("{trials: 4}", "{trials: 4}\naxes: {method.epsilon: [1, 2]}", "7: axes: is not legal beside search"),
        (
            "{trials: 4}",
            "{trials: 4}\nreports: [{curve: method.p}]",
            "7: reports.0: is not legal for a",
        ),
        ("[0, 1]", "[0, 2]", "4: search.method.p: 2.0 is not legal: a number in [0, 1]"),
        ("{uniform: [0, 1]}", "{uniform: [1, 0]}", "4: search.method.p: "),
        (
            "{uniform: [0, 1]}",
            "{log_uniform: [0, 1]}",
            "4: search.method.p.log_uniform.0: 0 is not legal: a number > 0",
        ),
        ("{uniform: [0, 1]}", "{choice: [1, 1]}", "4: search.method.p: "),
        (
            "{uniform: [0, 1]}",
            "{unifrom: [0, 1]}",
            "4: search.method.p.unifrom: unknown setting; did you mean",
        ),
        ("[1, 3]}", "[1.5, 3]}", "5: search.method.steps.int.0: 1.5 is not legal: a whole number"),
        ("method.steps:", "method.gamma:", "5: search.method.gamma: unknown setting of dropattack;"),
        (
            "[1, 3]}",
            "[1, 3], when: {method.q: 1}}",
            "5: search.method.steps.when.method.q: is not legal: a searched",
        ),
        (
            "[1, 3]}",
            "[1, 3], when: {method.p: 2}}",
            "5: search.method.steps.when.method.p: 2 is not legal: a value",
        ),
    ],
)
def test_bad_searches(tmp_path: Path, old: str, new: str, message: str) -> None:
    found = problems(tmp_path, change(old, new, SEARCH))
    assert len(found) == 1, found
    assert found[0].startswith(f"sweep.yaml:{message}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trial.epoch=3", "trial.epoch: unknown setting; did you mean 'epochs'?"),
        ("trial.epochs=0", "trial.epochs: 0 is not legal: a whole number >= 1"),
        ("epochs=1", "epochs: unknown setting; it belongs to the trial: trial.epochs"),
        ("axes.method.p=[0, 2]", "axes.method.p: 2 is not legal: a number in [0, 1]"),
        ("trial.epochs.x=3", "trial.epochs.x: 3 is not legal: trial.epochs is 10, which has no settings"),
        ("zip.3.method.steps=[1]", "zip of the file has no such place"),
        ("trial.epochs", "is not legal: name=value, e.g. trial.epochs=1"),
    ],
)
def test_bad_overrides_name_the_option(tmp_path: Path, override: str, message: str) -> None:
    found = problems(tmp_path, BASE, [override])
    assert len(found) == 1, found
    assert found[0].startswith(f"--set {override}: {message}")


def test_all_problems_are_told_each_once(tmp_path: Path) -> None:
    text = change("[0.01, 1]", "[-1, -2, 1]", change("epochs: 10", "epochs: 0"))
    assert problems(tmp_path, text) == (
        "sweep.yaml:9: axes.method.epsilon: -1 is not legal: a number >= 0",
        "sweep.yaml:7: trial.epochs: 0 is not legal: a whole number >= 1",
        "sweep.yaml:9: axes.method.epsilon: -2 is not legal: a number >= 0",
    )


def test_a_problem_of_some_points_says_which(tmp_path: Path) -> None:
    text = change("method.p: [0, 0.5, 1]", "method.input.update: [replace, project]")
    text = change("  method.epsilon: [0.01, 1]\n", "", text)
    text = change(
        "{name: dropattack, targets: [input, conv1.w], steps: 1}",
        "{input: {targets: [input], epsilon: 1}}",
        text,
    )
    (found,) = problems(tmp_path, text)
    assert found.startswith("sweep.yaml:5: trial.method.input: ")
    assert "step_size is given exactly when update is 'project'" in found
    assert found.endswith("(at method.input.update = project)")


def test_a_value_that_does_not_fit_the_others_is_found_in_its_axis(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, change("method.p: [0, 0.5, 1]", "model: [lenet5_8x8, lenet5]"))
    assert found.startswith("sweep.yaml:10: axes.model: 'lenet5' is not legal: a model for 1 x 8 x 8 images")


def test_files_that_are_no_mapping(tmp_path: Path) -> None:
    assert problems(tmp_path, "- a") == ('sweep.yaml:1: ["a"] is not legal: a mapping with name, trial',)
    assert problems(tmp_path, "") == ("sweep.yaml:1: null is not legal: a mapping with name, trial",)
    with pytest.raises(SweepError, match=r"none\.yaml: cannot be read"):
        load(tmp_path / "none.yaml")


def test_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(SweepError(["a", "b", "a"])))
    assert error.problems == ("a", "b")
    assert str(error) == "a\nb"


def test_rendering_without_a_file() -> None:
    problem = Problem(("axes", "method.p", 1), "2 is not legal: a number in [0, 1]")
    assert Source().render(problem) == "axes.method.p: 2 is not legal: a number in [0, 1]"
    assert show("x" * 100).endswith("...")


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (
            "{name: at_awp, weight: {gama: 1}}",
            "weight.gama: unknown setting of at_awp; did you mean 'gamma'?",
        ),
        ("{name: at_awp, weight: {gamma: -1}}", "weight.gamma: -1 is not legal: a number >= 0"),
        (
            "{name: at_awp, weight: {kind: random, p: 1}}",
            "weight.p: unknown setting of at_awp; known: decay_at, gamma, kind, targets, warmup",
        ),
        (
            "{input: {kind: attack, stps: 1}}",
            "input.stps: unknown setting; did you mean 'steps'? known: against,",
        ),
        ("{input: {targets: [input], epsilon: 1, p: 3}}", "input.p: 3 is not legal: a number in [0, 1]"),
        ("{weight: {targets: [fc1.w]}}", "weight.epsilon: is missing: a number >= 0"),
    ],
)
def test_a_slot_is_told_by_the_settings_of_its_kind(tmp_path: Path, method: str, said: str) -> None:
    text = f"name: slots\ntrial: {{data: digits, model: lenet5_8x8, method: {method}}}\n"
    (found,) = problems(tmp_path, text)
    assert found.startswith(f"sweep.yaml:2: trial.method.{said}")
