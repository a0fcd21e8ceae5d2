"""The passes that methods make, by kind: attacks take no gradient of a parameter."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from benchmarks.method_cost import CASES, METHODS, compare, preset
from benchmarks.passes import STEP, bare_loops, counted
from benchmarks.steps import Case, Step, text
from engine.models.catalog import describe

CPU = torch.device("cpu")
IMAGES = replace(CASES["lenet5_8x8"], batch=8)
TEXTS = replace(text("lstm", 20), batch=4)
KINDS = {
    "standard": {"F+B": 1},
    "fgm": {"F+B+I": 1, "F+B": 1},
    "fgsm": {"F+I": 1, "F+B": 2},
    "pgd": {"F+B+I": 1, "F+I": 2, "F+B": 1},
    "free_at": {"F+B+I": 3},
    "freelb K=2": {"F+B+I": 1, "F+B": 1},
    "freelb K=3": {"F+B+I": 2, "F+B": 1},
    "vat": {"F+I": 1, "F+B": 2},
    "dropattack K=1": {"F+B+I": 1, "F+B": 2},
    "dropattack K=3": {"F+B+I": 3, "F+B": 4},
    "at": {"F+I": 10, "F+B": 1},
    "at_awp": {"F+I": 10, "F+B": 2},
    "trades": {"F eval": 1, "F+I eval": 10, "F+B": 2},
    "trades_awp": {"F eval": 1, "F+I eval": 10, "F+B": 4},
    "sadd": {"F+D": 1, "F+B": 2},
    "vadd": {"F+D": 1, "F+B": 2},
}


def kinds(label: str, case: Case) -> Counter[str]:
    step = Step(case, preset(label, case), CPU)
    with counted(step.stepper.of.passes) as found:
        step(0)
    return found


@pytest.mark.parametrize("label", METHODS)
def test_an_image_methods_passes(label: str) -> None:
    assert kinds(label, IMAGES) == KINDS[label]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("dropattack K=1", {"F+B": 3}),  # the embedding matrix is a parameter
        ("freelb K=2", {"F+B+I": 1, "F+B": 1}),
        ("at_awp", {"F+I": 10, "F+B": 2}),
    ],
)
def test_a_text_methods_passes(label: str, expected: dict[str, int]) -> None:
    assert kinds(label, TEXTS) == expected


@pytest.mark.parametrize("label", METHODS)
def test_as_many_forward_passes_as_the_slots_say(label: str) -> None:
    slots = preset(label, IMAGES).slots(describe({"name": IMAGES.model})).collapsed()
    assert kinds(label, IMAGES).total() == slots.passes


@pytest.mark.parametrize("case", [IMAGES, TEXTS], ids=["image", "text"])
def test_bare_loops_run(case: Case) -> None:
    for loop in bare_loops(case, CPU).values():
        loop(0)


def test_the_sum_has_the_cost_of_every_update() -> None:
    taken = {STEP: [5.0], "F+B": [3.0], "F+B+I": [4.0], "method": [36.0]}
    found = compare(Counter({"F+B+I": 3}), taken, updates=3)
    assert found["sum_ms"]["median"] == 1000 * (3 * 2 + 3 * 4)
    assert found["step / sum"]["median"] == 2
