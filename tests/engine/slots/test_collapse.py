"""The canonical form of the slots of AWP, adversarial dropout, attacks and selection: one key, one result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from engine.config import Trial
from engine.identity import canonical, trial_key
from engine.train import train

Make = Callable[..., Trial]
AT = {"natural": 0.0, "terms": [{"branch": "attack", "divergence": "ce"}]}
VIEW = {"branch": "view", "divergence": "kl", "weight": 2.0}
DROP = {"branch": "dropout", "divergence": "kl"}
ASCENT = {"targets": ["input"], "epsilon": 2.0, "p": 0.5}
PLAIN: dict[str, Any] = {
    "model": {"name": "lenet5_8x8", "dropout": 0.4},
    "augment": {"noise": 0.1},
    "epochs": 2,
}


def attack(**settings: Any) -> dict[str, Any]:
    return {"kind": "attack", "epsilon": 0.1, "step_size": 0.04, "steps": 2, **settings}


def replay(**settings: Any) -> dict[str, Any]:
    return {"kind": "replay", "replays": 2, **settings}


def awp(**settings: Any) -> dict[str, Any]:
    return {"kind": "relative", "gamma": 0.05, **settings}


def at(weight: Any = None, **settings: Any) -> dict[str, Any]:
    return {"input": attack(**settings), "weight": weight, "objective": AT}


def vadd(*terms: Any, **settings: Any) -> dict[str, Any]:
    return {"dropout": {"delta": 0.3, **settings}, "objective": {"terms": list(terms) or [DROP]}}


def labels(**settings: Any) -> dict[str, Any]:
    return vadd({"branch": "dropout", "divergence": "ce"}, target="labels", **settings)


def objective(*terms: Any, **settings: Any) -> dict[str, Any]:
    return {"objective": {"terms": list(terms), **settings}}


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (at(epsilon=0.0), objective()),
    (at(p=0.0), objective()),
    (at(step_size=0.1), at(step_size=None)),
    (at(start="zero", start_size=0.3), at(start="zero")),
    (at(mode="eval", statistics="frozen"), at(mode="eval")),
    ({"input": attack()}, objective()),
    ({"input": attack(), "selection": {"n": 5}}, objective()),
    ({"input": {"kind": "virtual", "epsilon": 0.0}, **objective({**DROP, "branch": "attack"})}, objective()),
    ({"input": replay(step_size=0.1, epsilon=0.1)}, {"input": replay(epsilon=0.1)}),
    ({"input": replay(epsilon=0.0, norm="l2", carry=False)}, {"input": replay(epsilon=0.0)}),
    ({"input": replay(epsilon=0.0, replays=1)}, objective()),
    (at(awp(gamma=0.0)), at()),
    (at(awp(p=0.0)), at()),
    (at(awp(warmup=2)), at()),
    (at(awp(targets=["*.weight", "conv1.w"])), at(awp())),
    (at(awp(step_size=0.0125, steps=2, alternations=2)), at(awp(steps=2, alternations=2))),
    (at(awp(decay_at="centre")), at(awp())),
    ({"weight": awp(alternations=3, steps=2)}, {"weight": awp(steps=6)}),
    ({**at(awp(alternations=2)), "selection": {"n": 9}}, {**at(awp(steps=2)), "selection": {"n": 9}}),
    ({"weight": {"kind": "random", "gamma": 0.0}}, objective()),
    (
        {"input": ASCENT, "selection": {"n": 9}},
        {"input": ASCENT, "selection": {"n": 9, "perturbations": "refreshed"}},
    ),
    (vadd({**DROP, "weight": 0.0}), objective()),
    ({"dropout": {"delta": 0.3}}, objective()),
    (vadd(jacobian_at="base"), vadd()),
    (vadd(divergence="squared", reverse=True), vadd(divergence="squared")),
    (labels(divergence="squared", reverse=True), labels()),
    (objective(momentum=0.3), objective()),
    (objective({**VIEW, "divergence": "ce", "detach": True}), objective({**VIEW, "divergence": "ce"})),
]  # fmt: skip


@pytest.mark.parametrize(("long", "short"), SAME)
def test_both_forms_have_one_key_and_one_result(make_trial: Make, long: Any, short: Any) -> None:
    a, b = make_trial(method=long, **PLAIN), make_trial(method=short, **PLAIN)
    assert canonical(a) == canonical(b)
    assert a.slots.collapsed() == a.slots, "idempotent"
    assert train(a).history == train(b).history


@pytest.mark.parametrize(("long", "short"), [case for case in SAME if "alternations" in str(case)])
def test_alternations_without_a_new_attack_are_steps(make_trial: Make, long: Any, short: Any) -> None:
    """Carried out as written, without the collapse."""
    trials = [make_trial(method=method, **PLAIN) for method in (long, short)]
    written = [t.method.slots(t.model_info) for t in trials]
    assert [s.weight.eta for s in written] == [t.slots.weight.eta for t in trials]  # type: ignore[union-attr]


BASE = at(awp(steps=2))
DIFFERENT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    *((at(awp()), at(awp(), **change)) for change in (
        {"norm": "l2"}, {"epsilon": 0.2}, {"steps": 3}, {"step_size": 0.05}, {"p": 0.5}, {"clamp": None},
        {"start": "zero"}, {"start": "gaussian"}, {"start_size": 0.5}, {"mode": "eval"},
        {"start": "gaussian", "start_size": 0.01, "against": "prediction"},
    )),
    *((BASE, at(awp(**{"steps": 2, **change}))) for change in (
        {"gamma": 0.1}, {"steps": 3}, {"alternations": 2}, {"step_size": 0.04}, {"size_norm": "l1"},
        {"p": 0.5}, {"warmup": 1}, {"targets": ["conv1.w"]},
    )),
    (BASE, at({"kind": "random", "gamma": 0.05})),
    *((vadd(base="bernoulli"), vadd(**{"base": "bernoulli", **change})) for change in (
        {"delta": 0.5}, {"budget": "l2", "delta": 0.1}, {"base": "ones"}, {"jacobian_at": "base"},
        {"rescale": False}, {"divergence": "squared"}, {"reverse": True}, {"views": 2},
    )),
    (vadd(), labels()),
    *((objective(VIEW), objective({**VIEW, **change})) for change in (
        {"weight": 1.0}, {"ramp": 5}, {"detach": True}, {"divergence": "squared"}, {"divergence": "ce"},
        {"branch": "ensemble"},
    )),
    *((at(), {**at(), "selection": s}) for s in ({"n": 9}, {"n": 9, "perturbations": "refreshed"})),
    *(({**at(), "selection": {"n": 9}}, {**at(), "selection": {"n": 9, **change}}) for change in (
        {"n": 10}, {"power": 2}, {"replacement": True}, {"mode": "train"},
    )),
    *(({"input": replay(epsilon=0.1)}, {"input": replay(epsilon=0.1, **change)}) for change in (
        {"replays": 3}, {"norm": "l2"}, {"step_size": 0.02}, {"clamp": None}, {"carry": False},
    )),
    (objective({**VIEW, "branch": "ensemble"}), objective({**VIEW, "branch": "ensemble"}, momentum=0.3)),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_a_setting_that_changes_the_result_changes_the_key(make_trial: Make, one: Any, other: Any) -> None:
    settings = {**PLAIN, "optimizer": {"name": "adam", "lr": 0.01}, "epochs": 3}
    a, b = make_trial(method=one, **settings), make_trial(method=other, **settings)
    assert trial_key(a) != trial_key(b)
    assert train(a).history != train(b).history


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_where_decay_acts_matters_where_weights_decay(make_trial: Make, optimizer: str) -> None:
    settings = {**PLAIN, "optimizer": {"name": optimizer, "lr": 0.01, "weight_decay": 0.3}}
    a, b = (
        make_trial(method=at(awp(gamma=0.3, decay_at=place)), **settings) for place in ("perturbed", "centre")
    )
    assert trial_key(a) != trial_key(b)
    assert train(a).history != train(b).history


CONV = {"targets": ["conv1.w"], "epsilon": 2.0}
ENSEMBLE = objective({**VIEW, "branch": "ensemble"})


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (at(start="zero", against="prediction"), "method.input.start: 'zero' is not legal"),
        (objective({**VIEW, "branch": "ensemble", "detach": True}), "method.objective.terms.detach: True"),
        (objective({**VIEW, "branch": "ensemble", "divergence": "ce"}), "method.objective.terms.divergence:"),
        ({"name": "temporal", "momentum": 1.0}, "method.objective.momentum: 1 is not legal"),
        ({"input": replay(), "weight": awp()}, "method.input.kind: 'replay' is not legal: the only slot"),
        ({"input": {"kind": "virtual"}, "selection": {"n": 3}, **objective(dict(DROP, branch="attack"))},
         "method.selection: 3 is not legal"),
        ({"input": ASCENT, **ENSEMBLE}, "method.input: ascent is not legal: none beside an ensemble"),
        ({"weight": CONV, **ENSEMBLE}, "method.weight: ascent is not legal: none beside an ensemble"),
        ({"weight": awp(), **ENSEMBLE}, "method.weight: relative is not legal: none beside an ensemble"),
        ({"input": {**ASCENT, "learn_from": "every"}, "weight": CONV}, "method.input.learn_from: 'every'"),
        ({"input": ASCENT, "weight": {**CONV, "learn_from": "every"}}, "method.weight.learn_from: 'every'"),
        ({"input": {**ASCENT, "start": 0.5}, "weight": CONV}, "method.input.start: 0.5 is not legal"),
        ({"input": ASCENT, "objective": AT}, "method.input.kind: 'ascent'"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused(make_trial: Make, method: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make_trial(method=method)
    assert message in str(caught.value)


def test_what_shares_no_first_pass_is_taken(make_trial: Make) -> None:
    make_trial(method={"input": ASCENT, "weight": CONV})
    make_trial(method={"input": {**ASCENT, "learn_from": "every", "start": 0.5}, "weight": awp()})
    make_trial(method={"weight": {"kind": "random", "gamma": 0.1}, **ENSEMBLE})


def test_what_a_model_that_reconstructs_cannot_do_is_refused(make_trial: Make) -> None:
    for method in (
        "adaptive",
        "trades",
        "vadd",
        labels() | {"dropout": {"delta": 0.3}},
        objective(entropy=0.5),
    ):
        with pytest.raises(ValidationError, match="is not legal"):
            make_trial(method=method, model="autoencoder", select="val.loss")


def test_whitened_pixels_are_not_clamped(make_trial: Make) -> None:
    data = {"name": "cifar10", "zca": True}
    with pytest.raises(
        ValidationError, match=r"method\.clamp: \(0\.0, 1\.0\) is not legal: none for these data"
    ):
        make_trial(data=data, model="preact_resnet18", method="at")
    make_trial(data=data, model="preact_resnet18", method={"name": "at", "clamp": None})


def test_labels_of_a_parent_need_examples_to_label(make_trial: Make) -> None:
    init = {"from": {"method": "standard"}, "use": "labels"}
    with pytest.raises(ValidationError, match=r"init\.use: 'labels' is not legal"):
        make_trial(method="rst", init=init)
    make_trial(method="rst", init=init, data={"name": "digits", "train_size": 60, "labelled": 20})
