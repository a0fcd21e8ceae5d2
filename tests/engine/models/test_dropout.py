"""Dropout masks follow the example; a method can put its own in their place."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.models.dropout import Dropout, Noise, masked, noisy, sites


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(Dropout(0.5), nn.Identity(), Dropout(0.25))


def test_an_example_keeps_its_mask_in_every_batch(network: nn.Module) -> None:
    x_BF, rows_B = torch.ones(64, 32), torch.arange(64)
    with noisy(network, Noise(0, 3, rows_B)):
        whole = network(x_BF)
    with noisy(network, Noise(0, 3, rows_B[40:])):
        part = network(x_BF[40:])
    assert torch.equal(whole[40:], part)


def test_masks_differ_by_seed_step_branch_and_site(network: nn.Module) -> None:
    x_BF, rows_B = torch.ones(8, 32), torch.arange(8)
    seen = []
    for noise in (
        Noise(0, 3, rows_B), Noise(1, 3, rows_B), Noise(0, 4, rows_B), Noise(0, 3, rows_B, branch=1)
    ):  # fmt: skip
        with noisy(network, noise):
            seen.append(sites(network)["0"](x_BF))
    with noisy(network, Noise(0, 3, rows_B)):
        seen.append(sites(network)["2"](x_BF) * 1.5)  # 1 / 0.5 over 1 / 0.75
    assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def test_what_is_kept_is_scaled_by_the_share_kept() -> None:
    site = Dropout(0.25)
    with noisy(nn.Sequential(site), Noise(0, 0, torch.arange(500))):
        y = site(torch.ones(500, 40))
    kept = y != 0
    assert torch.allclose(y[kept], torch.tensor(1 / 0.75))
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.01)


def test_eval_mode_and_p_zero_leave_h_as_it_is() -> None:
    h = torch.randn(3, 4)
    assert Dropout(0.0)(h) is h
    assert Dropout(0.9).eval()(h) is h


def test_without_noise_torch_draws() -> None:
    torch.manual_seed(0)
    expected = nn.functional.dropout(torch.ones(4, 4), 0.5)
    torch.manual_seed(0)
    assert torch.equal(Dropout(0.5)(torch.ones(4, 4)), expected)


def test_a_mask_in_place_of_the_random_one_works_in_both_modes(network: nn.Module) -> None:
    mask = torch.zeros(2, 3)
    for mode in (True, False):
        network.train(mode)
        with masked(network, {"2": mask}):
            assert not network(torch.ones(2, 3)).any()
    assert sites(network)["2"].mask is None


def test_noise_and_masks_go_also_when_the_pass_raises(network: nn.Module) -> None:
    rows_B, mask = torch.arange(2), torch.ones(1)
    with pytest.raises(KeyError), noisy(network, Noise(0, 0, rows_B)), masked(network, {"0": mask}):
        raise KeyError
    assert all(site.noise is None and site.mask is None for site in sites(network).values())
