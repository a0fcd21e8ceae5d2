from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.perturb.chain import Over, add, mask, normalise, norms, project

A = torch.tensor([[3.0, 4.0], [0.0, 12.0]])  # norms 13, of the rows 5 and 12
B = torch.tensor([[84.0]])  # norm 84; of both 85


@pytest.mark.parametrize(
    ("over", "a", "b"),
    [("tensor", 13.0, 84.0), ("joint", 85.0, 85.0), ("sample", [[5.0], [12.0]], [[84.0]])],
)
def test_norms(over: Over, a: object, b: object) -> None:
    found = norms({"a": A, "b": B}, over)
    assert found["a"].tolist() == a
    assert found["b"].tolist() == b


def test_sample_norms_of_images() -> None:
    x_BCHW = torch.ones(2, 1, 2, 2) * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    assert norms({"x": x_BCHW}, "sample")["x"].shape == (2, 1, 1, 1)
    assert norms({"x": x_BCHW}, "sample")["x"].flatten().tolist() == [2.0, 6.0]


def test_total_sums_squares_over_workers() -> None:
    def twice(x: Tensor) -> Tensor:
        return 4 * x

    assert norms({"a": A}, "tensor", twice)["a"] == 26.0
    assert norms({"a": A, "b": B}, "joint", twice)["a"] == 170.0
    assert norms({"b": B}, "sample", twice)["b"].item() == 84.0, "an example lies on one worker"


def test_half_precision_does_not_overflow() -> None:
    assert norms({"a": torch.full((4,), 6e4, dtype=torch.float16)}, "tensor")["a"] == 1.2e5


@pytest.mark.parametrize("over", ["tensor", "sample", "joint"])
def test_normalise_gives_norm_one(over: Over) -> None:
    unit = normalise({"a": A, "b": B}, over)
    assert all(torch.allclose(n, torch.ones(())) for n in norms(unit, over).values())


@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf")])
def test_a_gradient_without_a_direction_perturbs_nothing(bad: float) -> None:
    g = torch.tensor([[1.0, 0.0], [bad, 0.0]])
    assert normalise({"g": torch.full((3,), bad)}, "tensor")["g"].tolist() == [0.0] * 3
    assert normalise({"g": g}, "sample")["g"].tolist() == [[1.0, 0.0], [0.0, 0.0]], "the others are kept"


def test_project_shrinks_what_is_outside_only() -> None:
    assert torch.equal(project({"a": A}, 14.0, "tensor")["a"], A)
    assert torch.allclose(project({"a": A}, torch.tensor(6.5), "tensor")["a"], A / 2)
    rows = project({"a": A}, 6.0, "sample")["a"]
    assert torch.equal(rows[0], A[0])
    assert torch.allclose(rows[1], A[1] / 2)
    joint = project({"a": A, "b": B}, 8.5, "joint")
    assert torch.allclose(joint["a"], A / 10)
    assert torch.allclose(joint["b"], B / 10)
    assert project({"z": torch.zeros(3)}, 1.0, "tensor")["z"].tolist() == [0.0] * 3


def test_project_is_idempotent() -> None:
    once = project({"a": A}, 1.7, "tensor")
    assert torch.allclose(project(once, 1.7, "tensor")["a"], once["a"], rtol=1e-7)


def test_add_starts_from_zero() -> None:
    assert torch.equal(add({}, {"a": A}, 2.0)["a"], 2 * A)
    assert torch.equal(add({"a": A}, {"a": A}, torch.tensor(2.0))["a"], 3 * A)


def test_mask_keeps_and_scales() -> None:
    m = torch.tensor([[True, False], [False, True]])
    assert mask({"a": A}, {"a": m})["a"].tolist() == [[3.0, 0.0], [0.0, 12.0]]
    assert mask({"a": A}, {"a": m}, torch.tensor(2.0))["a"].tolist() == [[6.0, 0.0], [0.0, 24.0]]


def test_nothing_changes_its_arguments() -> None:
    held = A.clone()
    normalise({"a": A}, "tensor")
    project({"a": A}, 1.0, "joint")
    add({"a": A}, {"a": A}, 1.0)
    mask({"a": A}, {"a": A > 3})
    assert torch.equal(A, held)
