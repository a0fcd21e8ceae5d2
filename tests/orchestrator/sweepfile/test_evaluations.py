"""The block ``evaluations``: what it means, and each kind of bad input as one readable line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.components import load_plugin
from orchestrator.planning.plan import plan
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from orchestrator.sweepfile.schema import json_schema
from orchestrator.sweepfile.sweep import SweepError, load
from orchestrator.sweepfile.yaml_file import read_text
from tests.orchestrator.sweeps import PLUGINS, probing

BASE = f"""\
name: example
plugins: [{PLUGINS / "probing.py"}]
trial: {{data: digits, model: lenet5_8x8, method: fgm}}
axes: {{method.epsilon: [1, 2]}}
evaluations:
  - probing
  - {{name: probing, steps: 20, checkpoint: last, label: PGD-20}}
metric: {{name: PGD-20.accuracy}}
reports:
  - {{curve: method.epsilon, metric: probing.loss}}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "s.yaml"
    path.write_text(text)
    return path


def test_labels_defaults_and_the_metric_of_an_evaluation(tmp_path: Path) -> None:
    sweep = load(write(tmp_path, BASE))
    assert [(one.label, one.checkpoint) for one in sweep.asked] == [("probing", "best"), ("PGD-20", "last")]
    assert (sweep.metric.mode, sweep.metric.checkpoint) == ("max", "last"), "the evaluation's checkpoint"
    assert sweep.keep == "none", "what the file says stays as it was written"
    lower = load(write(tmp_path, BASE), ["metric.name=probing.loss"])
    assert (lower.metric.mode, lower.metric.checkpoint) == ("min", "best")
    assert load(write(tmp_path, BASE), ["evaluations.1.steps=5"]).asked[1].canonical()["steps"] == 5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps: 20", "step: 20", "7: evaluations.1.step: unknown setting of probing; did you mean 'steps'?"),
        ("steps: 20", "steps: 0", "7: evaluations.1.steps: 0 is not legal: a whole number >= 1"),
        ("steps: 20", "split: tset", "7: evaluations.1.split: 'tset' is not legal: did you mean 'test'?"),
        ("- probing", "- probbing", "6: evaluations.0.name: 'probbing' is not legal: did you mean 'pro"),
        ("- probing", "- {steps: 3}", "6: evaluations.0.name: no name is not legal: one of"),
        ("- probing", "- 3", "6: evaluations.0: 3 is not legal: "),
        ("checkpoint: last", "checkpoint: lst", "7: evaluations.1.checkpoint: 'lst' is not legal: did you"),
        ("checkpoint: last", "checkpoint: best.pgd", "7: evaluations.1.checkpoint: 'best.pgd' is not"),
        (", label: PGD-20", "", "7: evaluations.1: 'probing' is not legal: a label of its own: eval"),
        ("label: PGD-20", "label: Probing", "7: evaluations.1.label: 'Probing' is not legal: a label of its"),
        ("label: PGD-20", "label: a.b", "7: evaluations.1.label: 'a.b' is not legal: letters, digits, - _"),
        ("label: PGD-20", "label: test", "7: evaluations.1.label: 'test' is not legal: a label that no"),
        ("steps: 20, checkpoint: last, ", "", "7: evaluations.1: 'PGD-20' is not legal: settings that"),
        ("PGD-20.accuracy", "PGD-2.accuracy", "8: metric.name: 'PGD-2.accuracy' is not legal: did you mean"),
        ("PGD-20.accuracy", "PGD-20", "8: metric.name: 'PGD-20' is not legal: known: PGD-20.acc"),
        ("PGD-20.accuracy", "3", "8: metric.name: 3 is not legal: 'val.accuracy' or 'val.loss' or"),
        (
            "PGD-20.accuracy",
            "PGD-20.accuracy, checkpoint: best",
            "8: metric.checkpoint: 'best' is not legal: 'last', which PGD-20 evaluates; or left out",
        ),
        ("probing.loss", "probng.loss", "10: reports.0.metric: 'probng.loss' is not legal: did you mean"),
        ("steps: 20", "classes: 3", "7: evaluations.1.classes: 3 is not legal: at least 10 (for lenet5_8x8"),
        (
            "axes: {method.epsilon: [1, 2]}",
            "search: {method.epsilon: {uniform: [1, 2]}}\nbudget: {trials: 2}",
            "9: metric.name: 'PGD-20.accuracy' is not legal: a val metric, or allow_test_selection",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert BASE.count(old) == 1
    text = BASE.replace(old, new)
    if "search" in new:
        text = text.partition("reports:")[0]
    if "label: PGD-20" in old or "name: a" in new:
        text = text.replace("metric: {name: PGD-20.accuracy}\n", "")
        text = text.replace("metric: probing.loss", "metric: val.loss")
    if old == "- probing":
        text = text.replace(", metric: probing.loss", "")
    with pytest.raises(SweepError) as caught:
        plan(load(write(tmp_path, text)), Ledger(Store(tmp_path / "store")))
    (found,) = caught.value.problems
    assert found.startswith(f"s.yaml:{message}")
    assert not (tmp_path / "store").exists()


def test_a_validation_metric_may_lead_a_search() -> None:
    space: dict[str, Any] = {"search": {"method.epsilon": {"uniform": [1, 2]}}, "budget": {"trials": 2}}
    sweep = probing(
        {"name": "probing", "split": "val"}, axes={}, metric={"name": "probing.accuracy"}, **space
    )
    assert sweep.metric.name == "probing.accuracy"


def test_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    load_plugin(PLUGINS / "probing.py")
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    content = read_text(BASE).content
    jsonschema.validate(content, schema)
    for place, value in (("name", "test.acuracy"), ("name", "PGD-20")):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content | {"metric": {place: value}}, schema)
    for wrong in ({"name": "probing", "step": 1}, "nonsense", {"steps": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content | {"evaluations": [wrong]}, schema)
