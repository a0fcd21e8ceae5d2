from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from engine.components import find
from engine.data.base import Arrays, Split
from engine.data.store import arrow_path, open_data
from engine.data.zca import whitened, whitening

RNG = np.random.default_rng(0)
MIXED = RNG.normal(size=(5000, 12)) @ RNG.normal(size=(12, 12)) * 12 + 128
X = MIXED.clip(0, 255).astype(np.uint8).reshape(-1, 3, 2, 2)
SPLITS: dict[Split, Arrays] = {
    "train": Arrays(X[:4500], np.zeros(4500, np.int64)),
    "test": Arrays(X[4500:], np.ones(500, np.int64)),
}


def oracle(train: np.ndarray, x: np.ndarray, regulariser: float) -> np.ndarray:
    """The reference's formula in float64: a singular value decomposition of numpy's own covariance."""
    flat, given = ((a.reshape(len(a), -1) - 127.5) / 255 for a in (train, x))
    u, s, _ = linalg.svd(np.cov(flat.T, bias=True))
    components = u @ np.diag(1 / np.sqrt(s) + regulariser) @ u.T
    return ((given - flat.mean(0)) @ components.T).reshape(x.shape)


def test_both_splits_against_the_formula() -> None:
    found = whitened(SPLITS, 255.0)
    for split, arrays in SPLITS.items():
        assert found[split].x.dtype == np.float32
        np.testing.assert_allclose(found[split].x, oracle(SPLITS["train"].x, arrays.x, 1e-6), atol=1e-5)
        assert np.array_equal(found[split].y, arrays.y)


def test_training_pixels_are_white_and_images_still_look_like_images() -> None:
    x = whitened(SPLITS, 255.0)["train"].x.reshape(4500, -1)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(x.T, bias=True), np.eye(12), atol=1e-3)
    w = whitening(np.cov((X.reshape(5000, -1) / 255).T))
    np.testing.assert_allclose(w, w.T)  # what tells ZCA from other whitenings: no rotation
    assert linalg.eigvalsh(w).min() > 0


def test_only_the_training_split_decides() -> None:
    other = {**SPLITS, "test": Arrays(X[4500:] // 2, SPLITS["test"].y)}
    assert np.array_equal(whitened(other, 255.0)["train"].x, whitened(SPLITS, 255.0)["train"].x)


def test_the_regulariser_is_added_to_the_inverse_root() -> None:
    w = whitening(np.diag([4.0, 1e-4]), regulariser=0.25)
    np.testing.assert_allclose(w, np.diag([0.75, 100.25]))


@pytest.mark.parametrize("constant", [0, 77])
def test_pixels_that_never_vary_stay_finite(constant: int) -> None:
    x = X.copy()
    x[:, 0, 0, 0] = constant
    out = whitened({"train": Arrays(x, SPLITS["train"].y)}, 255.0)["train"].x
    assert np.isfinite(out).all()
    assert np.abs(out[:, 0, 0, 0]).max() < 1e-3
    np.testing.assert_allclose(out[:, 1:].reshape(5000, -1).var(0), 1, atol=1e-3)


def test_whitened_digits_are_converted_apart() -> None:
    config = find("data", "digits", "data.name")
    plain, white = (config.model_validate({"name": "digits", "zca": z}) for z in (False, True))  # type: ignore[attr-defined]
    assert (plain.info().range, white.info().range) == ((0.0, 1.0), None)
    a, b = open_data(plain), open_data(white)
    assert arrow_path(plain) != arrow_path(white)
    assert (b.info.range, b.scale, a.info.range, a.scale) == (None, 1.0, (0.0, 1.0), 16.0)
    assert (a.splits["val"].x.dtype, b.splits["val"].x.dtype) == (np.uint8, np.float32)
    assert np.array_equal(a.splits["val"].y, b.splits["val"].y)
