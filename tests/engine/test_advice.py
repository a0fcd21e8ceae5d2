"""What a legal trial asks for without effect is said, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.advice import advice
from engine.components import names
from engine.config import Trial
from engine.train import train

Make = Callable[..., Trial]
DROPPED = {"name": "lenet5_8x8", "dropout": 0.3}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": {"name": "pi_model", "ramp": 0}}, "both views are the same"),
        ({"method": {"name": "vadd", "ramp": 0}}, "no gradient to follow"),
        ({"method": {"name": "vadd", "ramp": 0, "base": "bernoulli"}}, "no gradient to follow"),
        ({"method": {"name": "vadd", "ramp": 0, "views": 1}, "augment": {"noise": 0.1}}, "no gradient"),
        ({"method": "rst"}, "RST without pseudo-labels is TRADES"),
        ({"method": {"name": "sadd", "ramp": 80}, "epochs": 10}, "the weight reaches 2.2%"),
        ({"method": {"name": "at", "norm": "l2"}, "text": True}, "8/255 is a radius for pixels"),
        ({"unlabelled_batch": 8}, "8 has no effect"),
    ],
)
def test_what_is_said(make_trial: Make, changes: dict[str, Any], said: str) -> None:
    found = advice(make_trial(**changes))
    assert len(found) == 1
    assert said in found[0]
    assert "\n" not in found[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"method": {"name": "pi_model", "ramp": 0}, "model": DROPPED},
        {"method": {"name": "pi_model", "ramp": 0}, "augment": {"flip": True}},
        {"method": {"name": "vadd", "ramp": 0}, "augment": {"flip": True}},
        {"method": {"name": "vadd", "ramp": 0, "base": "bernoulli"}, "model": DROPPED},
        {"method": {"name": "sadd", "ramp": 2}},
        {"method": "at"},
        {"method": {"name": "vat"}, "data": {"name": "digits", "labelled": 50}, "unlabelled_batch": 8},
    ],
)
def test_what_is_sound_is_left_alone(make_trial: Make, changes: dict[str, Any]) -> None:
    assert advice(make_trial(**changes)) == []


@pytest.mark.parametrize("name", names("methods"))
def test_every_preset_is_looked_at(make_lively: Make, name: str) -> None:
    assert not [line for line in advice(make_lively(name)) if "ramp" not in line]


def test_what_is_said_of_pi_is_true(make_trial: Make) -> None:
    silent = make_trial(method={"name": "pi_model", "ramp": 0, "weight": 50})
    plain = train(make_trial()).history
    assert [e["val.loss"] for e in train(silent).history] == pytest.approx([e["val.loss"] for e in plain])
