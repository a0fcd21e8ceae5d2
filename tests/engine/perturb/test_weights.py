from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.perturb.weights import SizeNorm, project, random_relative, relative_step, sizes

GAMMA = 0.01
NORMS = pytest.mark.parametrize("size_norm", ["l2", "l1"])
SHAPES = {"conv": (6, 1, 5, 5), "fc": (120, 400), "one": (1, 1)}


def tensors(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Weights of several shapes and magnitudes."""
    rng = np.random.default_rng(seed)
    return {
        n: torch.tensor(rng.normal(size=s) * 10.0**i, dtype=dtype) for i, (n, s) in enumerate(SHAPES.items())
    }


def oracle(t: Tensor, size_norm: SizeNorm) -> float:
    values: NDArray[np.float64] = t.double().numpy().ravel()
    return float(np.linalg.norm(values, 1 if size_norm == "l1" else 2))


@NORMS
def test_one_step_lies_on_the_sphere_along_the_gradient(size_norm: SizeNorm) -> None:
    w, g = tensors(0), tensors(1)
    v = relative_step({}, g, w, GAMMA, size_norm)
    v = project(v, w, GAMMA, size_norm)
    for name in w:
        assert oracle(v[name], size_norm) == pytest.approx(GAMMA * oracle(w[name], size_norm), rel=1e-6)
        expected = g[name].double() / oracle(g[name], size_norm) * GAMMA * oracle(w[name], size_norm)
        np.testing.assert_allclose(v[name].numpy(), expected.numpy(), rtol=1e-6)


@NORMS
@pytest.mark.parametrize(("alternations", "steps"), [(1, 3), (2, 1), (2, 5)])
def test_several_steps_never_leave_the_ball(size_norm: SizeNorm, alternations: int, steps: int) -> None:
    w, v = tensors(0), {}
    for i in range(alternations * steps):
        v = relative_step(v, tensors(i + 1), w, GAMMA / (alternations * steps), size_norm)
        v = project(v, w, GAMMA, size_norm)
        for name in w:
            assert oracle(v[name], size_norm) <= GAMMA * oracle(w[name], size_norm) * (1 + 1e-6)


@NORMS
def test_steps_of_too_large_a_size_are_projected(size_norm: SizeNorm) -> None:
    w, v = tensors(0), {}
    for i in range(3):
        v = project(relative_step(v, tensors(i + 1), w, GAMMA, size_norm), w, GAMMA, size_norm)
    for name in ("conv", "fc"):
        assert oracle(v[name], size_norm) == pytest.approx(GAMMA * oracle(w[name], size_norm), rel=1e-6)


@NORMS
def test_steps_and_projection_against_the_formula(size_norm: SizeNorm) -> None:
    w, g, v = (tensors(seed, torch.float64) for seed in (0, 1, 2))
    moved = relative_step(v, g, w, 0.7, size_norm)
    back = project(moved, w, 0.5, size_norm)
    for name in w:
        step = 0.7 * g[name].numpy() / oracle(g[name], size_norm) * oracle(w[name], size_norm)
        expected = v[name].numpy() + step
        np.testing.assert_allclose(moved[name].numpy(), expected, rtol=1e-12, atol=1e-13)
        size = oracle(moved[name], size_norm)
        radius = 0.5 * oracle(w[name], size_norm)
        expected = expected * radius / size if size > radius else expected
        np.testing.assert_allclose(back[name].numpy(), expected, rtol=1e-12, atol=1e-13)


@NORMS
def test_inside_the_ball_nothing_moves(size_norm: SizeNorm) -> None:
    w = tensors(0)
    v = relative_step({}, tensors(1), w, 0.5 * GAMMA, size_norm)
    kept = project(v, w, GAMMA, size_norm)
    assert all(torch.equal(kept[n], v[n]) for n in w)
    zero = {"w": torch.zeros(3)}
    assert project(zero, {"w": torch.ones(3)}, GAMMA, size_norm)["w"].tolist() == [0.0] * 3
    assert project({"w": torch.ones(3)}, zero, GAMMA, size_norm)["w"].tolist() == [0.0] * 3


@NORMS
@pytest.mark.parametrize("bad", [0.0, float("nan"), float("inf"), -float("inf")])
def test_a_layer_without_a_direction_keeps_its_perturbation(size_norm: SizeNorm, bad: float) -> None:
    w, g, v = tensors(0), tensors(1), tensors(2)
    g["fc"] = torch.full_like(g["fc"], bad)
    assert relative_step({}, g, w, GAMMA, size_norm)["fc"].abs().max() == 0
    moved = relative_step(v, g, w, GAMMA, size_norm)
    assert torch.equal(moved["fc"], v["fc"])
    assert not torch.equal(moved["conv"], v["conv"]), "the others move"


@NORMS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_measured_in_single(size_norm: SizeNorm, dtype: torch.dtype) -> None:
    w, g = {"w": torch.full((300, 300), 200.0, dtype=dtype)}, {"w": torch.full((300, 300), 3e4, dtype=dtype)}
    v = relative_step({}, g, w, GAMMA, size_norm)
    assert v["w"].dtype == torch.float32
    np.testing.assert_allclose(v["w"].numpy(), 2.0, rtol=1e-5)
    assert project(v, w, GAMMA / 2, size_norm)["w"].dtype == torch.float32


def test_double_precision_stays() -> None:
    assert {x.dtype for x in random_relative(tensors(0, torch.float64), 1.0, 0, 0).values()} == {
        torch.float64
    }
    assert sizes({"w": torch.full((7,), 0.1, dtype=torch.float64)})["w"].item() == pytest.approx(
        np.sqrt(0.07), rel=1e-15
    )


def test_random_perturbation_has_the_relative_size_and_is_gaussian() -> None:
    w = tensors(0)
    v = random_relative(w, 0.5, seed=3, step=4)
    for name in w:
        assert oracle(v[name], "l2") == pytest.approx(0.5 * oracle(w[name], "l2"), rel=1e-6)
    z = v["fc"].double() / v["fc"].double().std()
    assert abs(float(z.mean())) < 0.02
    assert float((z**4).mean()) == pytest.approx(3, abs=0.1)


def test_random_perturbation_depends_on_seed_step_and_name_alone() -> None:
    w = tensors(0)
    v = random_relative(w, 0.5, 3, 4)
    alone = random_relative({"fc": w["fc"]}, 0.5, 3, 4)
    assert torch.equal(v["fc"], alone["fc"])
    for seed, step in ((2, 4), (3, 5)):
        assert not torch.equal(random_relative(w, 0.5, seed, step)["fc"], v["fc"])
    twice = random_relative({"a": w["fc"], "b": w["fc"]}, 0.5, 3, 4)
    assert not torch.equal(twice["a"], twice["b"])


def test_nothing_changes_its_arguments() -> None:
    w, g, v = tensors(0), tensors(1), tensors(2)
    held = [{n: x.clone() for n, x in t.items()} for t in (w, g, v)]
    relative_step(v, g, w, GAMMA)
    project(v, w, GAMMA)
    random_relative(w, GAMMA, 0, 0)
    assert all(torch.equal(t[n], h[n]) for t, h in zip((w, g, v), held, strict=True) for n in t)


def test_radii_broadcast_as_tensors() -> None:
    w, g = tensors(0), tensors(1)
    plain = relative_step({}, g, w, 0.5)
    assert torch.equal(relative_step({}, g, w, torch.tensor(0.5))["fc"], plain["fc"])
    assert torch.equal(project(plain, w, torch.tensor(0.1))["fc"], project(plain, w, 0.1)["fc"])
