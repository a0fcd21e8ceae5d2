"""Mean-only batch normalisation against NumPy, and against torch's layer where the two agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.models.norm import MeanOnlyBatchNorm2d


def layer(momentum: float = 0.1) -> MeanOnlyBatchNorm2d:
    norm = MeanOnlyBatchNorm2d(3, momentum).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, -2.0]))
        norm.bias.copy_(torch.tensor([0.0, 3.0, 1.0]))
    return norm


def images(seed: int = 0) -> Tensor:
    return torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(seed)).double() + 2


def test_it_starts_as_the_identity_but_for_the_mean() -> None:
    norm, x = MeanOnlyBatchNorm2d(3), images().float()
    assert torch.allclose(norm(x), x - x.mean((0, 2, 3), keepdim=True), atol=1e-6)
    assert set(norm.state_dict()) == {"weight", "bias", "running_mean"}


def test_train_and_eval_mode_against_numpy() -> None:
    norm, running = layer(0.25), np.zeros(3)
    weight, bias = (w.detach().numpy()[:, None, None] for w in (norm.weight, norm.bias))
    for seed in range(3):
        x = images(seed)
        mean = x.numpy().mean((0, 2, 3))
        expected = (x.numpy() - mean[:, None, None]) * weight + bias
        np.testing.assert_allclose(norm(x).detach().numpy(), expected, rtol=1e-12)
        running = 0.75 * running + 0.25 * mean
    np.testing.assert_allclose(norm.running_mean.numpy(), running, rtol=1e-12)
    kept = norm.eval().running_mean.clone()
    expected = (images(9).numpy() - running[:, None, None]) * weight + bias
    np.testing.assert_allclose(norm(images(9)).detach().numpy(), expected, rtol=1e-12)
    assert torch.equal(norm.running_mean, kept), "eval keeps it"


def test_gradients_flow_through_the_mean() -> None:
    norm, x = layer(), images().requires_grad_()
    assert torch.autograd.gradcheck(norm, (x[:2, :, :2, :2],))
    norm(x).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.abs().max() < 1e-12, "a constant added to a channel changes nothing"


@pytest.mark.parametrize("training", [True, False])
def test_statistics_freeze_as_in_torchs_layer(training: bool) -> None:
    """Setting ``track_running_stats`` to False afterwards changes no output and no statistics."""
    for norm in (layer(), nn.BatchNorm2d(3).double()):
        norm(images())
        kept = norm.running_mean.clone()  # type: ignore[union-attr]
        norm.train(training)
        norm.track_running_stats = True
        followed = norm(images(1))
        norm.running_mean.copy_(kept)  # type: ignore[union-attr]
        norm.track_running_stats = False
        assert torch.equal(norm(images(1)), followed)
        assert torch.equal(norm.running_mean, kept)  # type: ignore[arg-type]


def test_the_running_mean_is_torchs() -> None:
    mine, torchs = MeanOnlyBatchNorm2d(3, 0.3).double(), nn.BatchNorm2d(3, momentum=0.3).double()
    for seed in range(3):
        mine(images(seed)), torchs(images(seed))
    assert torchs.running_mean is not None
    assert torch.allclose(mine.running_mean, torchs.running_mean, rtol=1e-12)


def test_parts_of_a_batch_that_share_their_sums_make_the_whole() -> None:
    x = images()
    sums, count = x.sum((0, 2, 3)), x[:, 0].numel()

    class Shared(MeanOnlyBatchNorm2d):
        def _reduce(self, sum_C: Tensor, own: int) -> tuple[Tensor, int]:
            return sums, count

    whole, part = MeanOnlyBatchNorm2d(3).double(), Shared(3).double()
    assert torch.allclose(part(x[:1]), whole(x)[:1], rtol=1e-12)
    assert torch.allclose(part.running_mean, whole.running_mean, rtol=1e-12)


def test_half_precision_sums_in_float32() -> None:
    x = torch.full((64, 1, 64, 64), 3.0, dtype=torch.float16)  # sum 786,432: beyond float16
    norm = MeanOnlyBatchNorm2d(1)
    y = norm(x)
    assert y.dtype == torch.float16
    assert not y.any()
    assert norm.running_mean.item() == pytest.approx(0.3)


def test_two_passes_share_a_backward_pass() -> None:
    norm = layer()
    (norm(images()).square().sum() + norm(images(1)).square().sum()).backward()
    assert norm.weight.grad is not None
