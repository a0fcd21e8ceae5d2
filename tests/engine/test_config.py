from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from engine.config import Init, Trial, override
from engine.errors import InputError
from engine.identity import trial_key
from engine.update import SGD, Adam, AdamW

BASE: dict[str, Any] = {"data": "digits", "model": "lenet5_8x8", "method": "standard"}
LSTM = {"data": "toy_text", "model": "lstm"}


def dropattack(**settings: Any) -> dict[str, Any]:
    return {"method": {"name": "dropattack", **settings}}


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"nope": 1}, "nope", "Extra inputs"),
    ({"data": "digit"}, "data", "data.name: 'digit' is not legal: did you mean 'digits'?"),
    ({"data": None}, "data", "data: None is not legal: a name, or a mapping"),
    ({"data": {"name": "digits", "train_size": 0}}, "data.train_size", "greater than or equal to 1"),
    (
        {"data": {"name": "digits", "train_size": 2000}},
        "data",
        "data.train_size: 2000 is not legal: at most 1437",
    ),
    ({"data": {"name": "digits", "size": 3}}, "data.size", "Extra inputs"),
    ({"model": "lenet"}, "model", "model.name: 'lenet' is not legal: did you mean 'lenet5'?"),
    ({"model": {"name": "lenet5_8x8", "hid": 3}}, "model.hid", "Extra inputs"),
    ({"model": {"name": "lenet5_8x8", "day": datetime.date(2026, 1, 2)}}, "model.day", "Extra inputs"),
    ({"model": "lenet5"}, "", "model.name: 'lenet5' is not legal: a model for 1 x 8 x 8 images"),
    ({"model": "lstm"}, "", "model.name: 'lstm' is not legal: a model for image data"),
    ({"method": "dropatack"}, "method", "method.name: 'dropatack' is not legal: did you mean 'dropattack'?"),
    ({"method": 3}, "method", "method: 3 is not legal"),
    (dropattack(epsilon=-1), "method.epsilon.input", "greater than or equal to 0"),
    (dropattack(epsilon=True), "method.epsilon.input", "valid number"),
    (dropattack(epsilon="5"), "method.epsilon.input", "valid number"),
    (dropattack(epsilon=float("nan")), "method.epsilon.input", "finite"),
    (dropattack(epsilon={"weight": -1}), "method.epsilon.weight", "greater than or equal to 0"),
    (dropattack(epsilon={"weights": 1}), "method.epsilon.weights", "Extra inputs"),
    (dropattack(p=1.5), "method.p.weight", "less than or equal to 1"),
    (dropattack(p=-0.1), "method.p.input", "greater than or equal to 0"),
    (dropattack(steps=0), "method.steps", "greater than or equal to 1"),
    (dropattack(steps=1.5), "method.steps", "valid integer"),
    (dropattack(targets=[]), "method.targets", "at least 1"),
    (dropattack(targets="input"), "method.targets", "valid tuple"),
    (
        dropattack(targets=["conv9.w"]),
        "",
        "method.targets.0: 'conv9.w' is not legal: no parameter matches; did you",
    ),
    (dropattack(targets=["input", "lstm.*"]), "", "method.targets.1: 'lstm.*' is not legal"),
    (dropattack(norm_over="batch"), "method.norm_over", "'tensor', 'sample' or 'joint'"),
    (dropattack(clamp=[1, 0]), "", "method.clamp: (1.0, 0.0) is not legal: two numbers, the lower one first"),
    (dropattack(gamma=1), "method.gamma", "Extra inputs"),
    (
        {**LSTM, **dropattack(norm_over="sample")},
        "",
        "method.norm_over: 'sample' is not legal: tensor for an emb",
    ),
    (
        {**LSTM, **dropattack(clamp=[0, 1])},
        "",
        "method.clamp: (0.0, 1.0) is not legal: none: an embedding matrix",
    ),
    ({"method": {"name": "pgd", "step_size": 0}}, "method.step_size", "greater than 0"),
    (
        {"method": {"input": {"targets": ["conv1.w"], "epsilon": 1}}},
        "",
        "method.input.targets.0: 'conv1.w' is not",
    ),
    (
        {"method": {"weight": {"targets": ["input"], "epsilon": 1}}},
        "",
        "method.weight.targets.0: 'input' is not",
    ),
    (
        {"method": {"weight": {"targets": ["fc1.w"], "epsilon": 1, "norm_over": "sample"}}},
        "",
        "method.weight.norm_over: 'sample' is not legal",
    ),
    (
        {**LSTM, "method": {"input": {"targets": ["input", "embedding"], "epsilon": 1}}},
        "",
        "method.input.targets: ['input', 'embedding'] is not legal: one of input",
    ),
    (
        {"method": {"input": {"targets": ["input"], "epsilon": 1, "update": "project"}}},
        "method.input.ascent",
        "step_size",
    ),
    ({"optimizer": "adagrad"}, "optimizer", "optimizer.name: 'adagrad' is not legal: "),
    ({"optimizer": {"name": "adam", "lr": 0}}, "optimizer.lr", "greater than 0"),
    ({"optimizer": {"name": "adam", "lr": "1e-3"}}, "optimizer.lr", "valid number"),
    (
        {"optimizer": {"name": "adam", "betas": [0.9, 1.0]}},
        "optimizer",
        "optimizer.betas: (0.9, 1.0) is not legal",
    ),
    ({"optimizer": {"name": "sgd", "nesterov": True}}, "optimizer", "optimizer.nesterov: True is not legal"),
    ({"optimizer": {"name": "adam", "momentum": 0.9}}, "optimizer.momentum", "Extra inputs"),
    ({"epochs": 0}, "epochs", "greater than or equal to 1"),
    ({"epochs": "3"}, "epochs", "valid integer"),
    ({"epochs": True}, "epochs", "valid integer"),
    ({"batch_size": 0}, "batch_size", "greater than or equal to 1"),
    ({"seed": -1}, "seed", "greater than or equal to 0"),
    ({"precision": "bfloat16"}, "precision", "'float32'"),
    ({"select": "test.accuracy"}, "", "select: 'test.accuracy' is not legal: one of val.accuracy, val.loss"),
    (
        {"attacks": {"pgd": {"name": "pgd", "epsilon": -1}}},
        "attacks.epsilon",
        "greater than or equal to 0",
    ),
    ({"attacks": {"test": {"name": "pgd"}}}, "attacks", "attacks: 'test' is not legal: names of letters"),
    ({"attacks": {"a.b": {"name": "pgd"}}}, "attacks", "attacks: 'a.b' is not legal: names of letters"),
    ({"attacks": {"x": {"name": "clean"}}}, "attacks", "attacks.x.name: 'clean' is not legal: an attack"),
    ({"attacks": {"x": {"name": "pgd", "seed": 3}}}, "attacks", "attacks.x.seed: 3 is not legal: left out"),
    ({"mixup": 1.0, "method": "mart"}, "", "mixup: 1.0 is not legal"),
    ({"augment": {"crop": 8}}, "", "augment.crop: 8 is not legal: below 8"),
    ({"model": "autoencoder"}, "", "select: 'val.accuracy' is not legal: one of val.loss"),
    (
        {"model": "autoencoder", "select": "val.loss", "attacks": {"a": {"name": "pgd"}}},
        "",
        "attacks: ['a'] is not legal: none: a model that reconstructs",
    ),
    ({"schedule": "cosin"}, "schedule", "did you mean 'cosine'"),
    ({"schedule": {"name": "piecewise", "at": [1.5]}}, "schedule.at.0", "less than 1"),
    ({"regularise": {"l1": -1}}, "regularise.l1", "greater than or equal to 0"),
    ({"method": {"name": "vadd", "site": "drop"}}, "", "method.dropout.site: 'drop' is not legal"),
    ({"method": {"name": "freelb", "steps": 1}}, "method", "method.steps: 1 is not legal: 2 or more"),
    (
        {"method": {"objective": {"terms": [{"branch": "dropout", "divergence": "kl"}]}}},
        "",
        "method.dropout: None is not legal",
    ),
    ({"method": {"objective": {"natural": 0.0}}}, "", "method.objective.natural: 0 is not legal"),
    ({"method": {"input": {"kind": "atack"}}}, "method.input", "kind should be one of ascent, attack, virt"),
    ({"method": {"weight": {"kind": "awp"}}}, "method.weight", "kind should be one of ascent, relative, r"),
    ({"init": {"from": {"metod": "fgm"}}}, "metod", "Extra inputs"),
    ({"init": {"from": {"method.epsilon": -1, "method.name": "fgm"}}}, "method.epsilon", "greater than"),
    (
        {"init": {"from": {"epochs.x": 1}}},
        "",
        "epochs.x: 1 is not legal: epochs is 10, which has no settings",
    ),
    (
        {"init": {"from": {"model": "normed"}}},
        "",
        "init.from.model: {'name': 'normed'} is not legal: a parent with the same model, lenet5_8x8",
    ),
    (
        {"data": "cifar100", "model": "preact_resnet18", "init": {"from": {"data": "cifar10"}}},
        "",
        "init.from.data: 10 classes is not legal: a parent with the same number of classes, 100",
    ),
    ({"init": {"from": {}, "leave": ["fc9.*"]}}, "", "init.leave.0: 'fc9.*' is not legal: no parameter"),
    ({"init": {"from": {"seed": 3}}}, "", "init.from.seed: 3 is not legal"),
    ({"init": {"from": {}, "checkpoint": "first"}}, "init.checkpoint", "'best' or 'last'"),
    ({"init": {"checkpoint": "best"}}, "init.from", "Field required"),
]


@pytest.mark.parametrize(("change", "place", "message"), BAD)
def test_a_bad_value_is_one_readable_error(change: dict[str, Any], place: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Trial.model_validate({**BASE, **change})
    errors = caught.value.errors()
    places = {".".join(map(str, error["loc"])): error["msg"] for error in errors}
    assert place in places, places
    assert message in places[place]
    assert "\n" not in places[place]
    assert len(errors) <= 2, "a scalar for both groups is wrong for both; nothing else is said twice"


@pytest.mark.parametrize("name", ["data", "model", "method"])
def test_what_has_no_default_is_asked_for(name: str) -> None:
    with pytest.raises(ValidationError, match="Field required"):
        Trial.model_validate({key: value for key, value in BASE.items() if key != name})


def test_short_and_long_form_are_one_trial() -> None:
    long = {
        "data": {"name": "digits"},
        "model": {"name": "lenet5_8x8"},
        "method": {"name": "standard"},
        "optimizer": {"name": "adam", "lr": 0.001},
    }
    assert Trial.model_validate(long) == Trial.model_validate(BASE)


def test_defaults() -> None:
    trial = Trial.model_validate(BASE)
    assert isinstance(trial.optimizer, Adam)
    assert (trial.optimizer.lr, trial.optimizer.betas) == (1e-3, (0.9, 0.999))
    assert (trial.epochs, trial.batch_size, trial.seed, trial.select) == (10, 128, 0, "val.accuracy")
    method: Any = Trial.model_validate({**BASE, "method": "dropattack"}).method
    assert (method.epsilon.input, method.epsilon.weight, method.p.input, method.p.weight) == (5, 5, 0.5, 0.5)


@pytest.mark.parametrize(("name", "kind"), [("adam", Adam), ("adamw", AdamW), ("sgd", SGD)])
def test_optimizers_by_name(name: str, kind: type) -> None:
    assert type(Trial.model_validate({**BASE, "optimizer": name}).optimizer) is kind


ROUND_TRIPS: list[dict[str, Any]] = [
    BASE,
    {**BASE, **dropattack(targets=["input", "conv?.*"], epsilon={"weight": 2}, clamp=[0, 1])},
    {**BASE, "method": {"weight": {"targets": ["fc1.w"], "epsilon": 2}, "clean": 0.5}},
    {
        **BASE,
        "optimizer": {"name": "sgd", "nesterov": True, "momentum": 0.5},
        "data": {"name": "digits", "train_size": 9},
    },
    {**BASE, "method": "fgm", "init": {"from": {"method": "standard"}, "checkpoint": "last"}},
]


@pytest.mark.parametrize("settings", ROUND_TRIPS)
def test_a_trial_survives_json(settings: dict[str, Any]) -> None:
    trial = Trial.model_validate(settings)
    again = Trial.model_validate_json(trial.model_dump_json())
    assert again == trial
    assert trial_key(again) == trial_key(trial)


def test_a_trial_cannot_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Trial.model_validate(BASE).epochs = 3  # type: ignore[misc]


def test_a_scalar_means_the_same_for_input_and_weights() -> None:
    both = {"epsilon": {"input": 2, "weight": 2}, "p": {"input": 0.1, "weight": 0.1}}
    assert Trial.model_validate({**BASE, **dropattack(**both)}) == Trial.model_validate(
        {**BASE, **dropattack(epsilon=2, p=0.1)}
    )


def test_parent(make_trial: Callable[..., Trial]) -> None:
    assert make_trial().parent() is None
    init = {"from": {"method": {"name": "pgd"}, "method.steps": 2, "optimizer.lr": 0.5}}
    child = make_trial(method="fgm", init=init, seed=4)
    parent = child.parent()
    assert parent == make_trial(
        method={"name": "pgd", "steps": 2}, optimizer={"name": "adam", "lr": 0.5}, seed=4
    )
    grandchild = make_trial(method="fgm", init={"from": {"epochs": 9, "init": init}})
    middle = grandchild.parent()
    assert middle is not None
    assert middle.init == Init.model_validate(init)
    assert middle.parent() is not None


def test_override() -> None:
    settings: dict[str, Any] = {"method": "fgm", "data": {"name": "digits"}, "init": None}
    given = settings["data"]
    override(settings, "method.epsilon", 3)
    override(settings, "data.train_size", 5)
    override(settings, "epochs", 2)
    override(settings, "init.from", {})
    assert settings == {
        "method": {"name": "fgm", "epsilon": 3},
        "data": {"name": "digits", "train_size": 5},
        "epochs": 2,
        "init": {"from": {}},
    }
    assert given == {"name": "digits"}, "what was given is not changed"
    with pytest.raises(InputError, match=r"epochs\.x\.y: 1 is not legal: epochs is 2, which has no settings"):
        override(settings, "epochs.x.y", 1)
