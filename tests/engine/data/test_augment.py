"""Against brute force over all outcomes and torchvision; every seed is fixed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as theirs

from engine.data import augment as module
from engine.data.augment import augment, rotate
from engine.data.augment_settings import Augment
from engine.data.base import DataInfo
from engine.errors import InputError
from engine.perturb import random
from engine.perturb.random import normal

B, C, H, W = 64, 2, 5, 7
X = torch.rand(B, C, H, W, generator=torch.Generator().manual_seed(0)) + 0.1
ROWS = torch.arange(B) * 977 + 13
ALL = Augment(crop=2, flip=True, rotation=30.0, cutout=3, noise=0.2)


def run(
    x: Tensor = X, rows: Tensor = ROWS, seed: int = 0, step: int = 0, view: int = 0, **chosen: Any
) -> Tensor:
    return augment(x, Augment(**chosen), seed, step, rows, view)


def shifts(x: Tensor, out: Tensor, crop: int, padding: str) -> list[tuple[int, int, bool]]:
    """The one shift and mirroring by which numpy makes each output from its image."""
    found = []
    for image, given in zip(x.numpy(), out.numpy(), strict=True):
        mode: Any = "reflect" if padding == "reflect" else "constant"
        padded = np.pad(image, ((0, 0), (crop, crop), (crop, crop)), mode=mode)
        made = {
            (dy, dx, flip): padded[:, dy : dy + H, dx : dx + W][:, :, :: -1 if flip else 1]
            for dy in range(2 * crop + 1)
            for dx in range(2 * crop + 1)
            for flip in (False, True)
        }
        (which,) = [place for place, value in made.items() if np.array_equal(value, given)]
        found.append(which)
    return found


@pytest.mark.parametrize("padding", ["zero", "reflect"])
@pytest.mark.parametrize("flip", [False, True])
def test_each_image_is_one_crop_of_its_padded_self(padding: str, flip: bool) -> None:
    found = shifts(X, run(crop=2, padding=padding, flip=flip), 2, padding)
    assert {mirrored for _, _, mirrored in found} == ({False, True} if flip else {False})
    assert {dy for dy, _, _ in found} == {dx for _, dx, _ in found} == set(range(5))


def test_every_shift_is_equally_likely_and_independent() -> None:
    found = []
    for step in range(30):
        found += shifts(X, run(step=step, crop=1, flip=True), 1, "zero")
    counts = np.unique(np.array([dy * 6 + dx * 2 + flip for dy, dx, flip in found]), return_counts=True)[1]
    assert len(counts) == 18
    assert stats.chisquare(counts).pvalue > 1e-3


def test_one_kind_does_not_change_the_choices_of_another() -> None:
    alone = shifts(X, run(crop=2), 2, "zero")
    both = shifts(X, run(crop=2, flip=True), 2, "zero")
    assert [place[:2] for place in alone] == [place[:2] for place in both]
    mirrored = torch.tensor([place[2] for place in both])
    assert torch.equal(run(flip=True)[mirrored], X.flip(3)[mirrored])
    assert torch.equal(run(flip=True)[~mirrored], X[~mirrored])


@pytest.mark.parametrize("chosen", [{"crop": 2}, {"flip": True}, {"cutout": 3}, {"crop": 1, "cutout": 2}])
def test_any_share_of_a_batch_has_the_same_bits(chosen: dict[str, Any]) -> None:
    whole, order = run(**chosen), torch.randperm(B, generator=torch.Generator().manual_seed(1))
    assert torch.equal(run(X[order], ROWS[order], **chosen), whole[order])
    for i in (0, 17, 63):
        assert torch.equal(run(X[i : i + 1], ROWS[i : i + 1], **chosen)[0], whole[i])
    assert run(X[:0], ROWS[:0], **chosen).shape == (0, C, H, W)


@pytest.mark.parametrize("chosen", [{"rotation": 40.0}, {"noise": 1.0}])
def test_any_share_of_a_batch_is_the_same_but_for_rounding(chosen: dict[str, Any]) -> None:
    whole = run(**chosen)
    for share in (slice(0, 1), slice(5, 12), slice(63, 64)):
        torch.testing.assert_close(run(X[share], ROWS[share], **chosen), whole[share], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("other", [{"seed": 1}, {"step": 1}, {"view": 1}, {"rows": ROWS + 1}])
@pytest.mark.parametrize(
    "chosen", [{"crop": 2}, {"flip": True}, {"rotation": 40.0}, {"cutout": 3}, {"noise": 1.0}]
)
def test_seed_step_view_and_example_decide(chosen: dict[str, Any], other: dict[str, Any]) -> None:
    assert torch.equal(run(**chosen), run(**chosen))
    changed = (run(**chosen, **other) != run(**chosen)).flatten(1).any(1)
    assert changed.float().mean() > 0.3


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 5, 9), (2, 9, 4)])
def test_rotation_is_torchvisions(shape: tuple[int, int, int]) -> None:
    x = torch.rand(6, *shape, generator=torch.Generator().manual_seed(2))
    degrees = torch.tensor([0.0, 15.0, -15.0, 90.0, 123.4, -180.0])
    wanted = [
        theirs.rotate(image, float(angle), InterpolationMode.BILINEAR)
        for image, angle in zip(x, degrees, strict=True)
    ]
    torch.testing.assert_close(rotate(x, degrees), torch.stack(wanted), rtol=1e-4, atol=2e-5)


def test_angles_are_uniform_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(x: Tensor, degrees: Tensor) -> Tensor:
        seen.append(degrees)
        return x

    monkeypatch.setattr(module, "rotate", record)
    for step in range(20):
        run(step=step, rotation=15.0)
    degrees = torch.cat(seen).numpy()
    assert stats.kstest(degrees, stats.uniform(-15, 30).cdf).pvalue > 1e-3


def squares(out: Tensor) -> list[tuple[int, int, int, int]]:
    """First and last row and column of each image's zeros, which have to be a filled rectangle."""
    found = []
    for zero in (out == 0).numpy():
        assert (zero == zero[:1]).all()
        rows, columns = np.flatnonzero(zero[0].any(1)), np.flatnonzero(zero[0].any(0))
        assert zero[0].sum() == len(rows) * len(columns)
        assert np.array_equal(rows, np.arange(rows[0], rows[-1] + 1))
        found.append((rows[0], rows[-1], columns[0], columns[-1]))
    return found


@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("inside", [True, False])
def test_cutout_sets_a_square_to_zero(side: int, inside: bool) -> None:
    seen = []
    for step in range(20):
        out = run(step=step, cutout=side, cutout_inside=inside)
        assert torch.equal(torch.where(out == 0, X, out), X)
        seen += squares(out)
    first = range(H + 1 - side) if inside else range(-(side // 2), H - side // 2)
    wanted = {(max(i, 0), min(i + side, H) - 1) for i in first}
    counts = {span: sum(s[:2] == span for s in seen) for span in wanted}
    assert {s[:2] for s in seen} == wanted
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_noise_is_standard_normal() -> None:
    z = normal(0, 0, "augment:noise:0", torch.arange(400), (400, 500))
    assert stats.kstest(z.flatten().numpy()[:50_000], "norm").pvalue > 1e-3
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    assert abs(torch.corrcoef(torch.stack([z[1:].flatten(), z[:-1].flatten()]))[0, 1]) < 0.01
    torch.testing.assert_close(run(noise=0.3), X + 0.3 * normal(0, 0, "augment:noise:0", ROWS, X.shape))


def test_noise_is_finite_and_symmetric_at_the_ends_of_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda *_: torch.tensor([0.0, 1 - 2.0**-24, 0.5]))
    z = normal(0, 0, "", ROWS, (3,))
    assert z[0] == -z[1]
    assert 5.3 < z[1] < 5.42
    assert abs(z[2]) < 1e-7 * 2


def test_nothing_to_do_is_free_and_images_are_not_written_to() -> None:
    assert augment(X, Augment(), 0, 0, ROWS) is X
    before = X.clone()
    for chosen in ({"crop": 1}, {"flip": True}, {"rotation": 9.0}, {"cutout": 2}, {"noise": 1.0}):
        assert run(**chosen).data_ptr() != X.data_ptr()
    assert torch.equal(X, before)


def test_channels_last_and_float64_give_the_same() -> None:
    plain = augment(X, ALL, 0, 0, ROWS)
    for same in (X.to(memory_format=torch.channels_last), X.double()):
        torch.testing.assert_close(augment(same, ALL, 0, 0, ROWS).float(), plain, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"crop": 28}, "augment.crop: 28 is not legal: below 28"),
        ({"cutout": 29}, "augment.cutout: 29 is not legal: at most 28"),
    ],
)
def test_what_is_larger_than_an_image_is_refused(chosen: dict[str, Any], says: str) -> None:
    info = DataInfo("image", 10, shape=(1, 28, 30))
    Augment(crop=27, cutout=28).check(info)
    with pytest.raises(InputError, match=says):
        Augment(**chosen).check(info)


def test_texts_are_not_augmented() -> None:
    Augment().check(DataInfo("text", 2))
    with pytest.raises(InputError, match=r"augment: \{'flip': True\} is not legal: left out"):
        Augment(flip=True).check(DataInfo("text", 2))


@pytest.mark.parametrize(
    "bad",
    [{"crop": -1}, {"crop": 1.5}, {"rotation": 181.0}, {"noise": -0.1}, {"padding": "edge"}, {"flip": 1}],
)
def test_values_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Augment.model_validate(bad)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_nothing_waits_for_the_gpu_and_choices_are_those_of_the_cpu() -> None:
    x, rows = X.cuda(), ROWS.cuda()
    augment(x, ALL, 0, 0, rows)
    torch.cuda.set_sync_debug_mode("error")
    try:
        out = augment(x, ALL, 0, 0, rows)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(out.cpu(), augment(X, ALL, 0, 0, ROWS), rtol=1e-4, atol=1e-4)
