from __future__ import annotations

import pytest
import torch
from scipy import stats

from engine.data.mixup import mix, mixup_partners, mixup_weight
from engine.errors import InputError

CPU = torch.device("cpu")


@pytest.mark.parametrize("alpha", [0.2, 1.0, 1.4])
def test_weights_are_beta_distributed_over_the_steps(alpha: float) -> None:
    weights = [mixup_weight(0, step, alpha) for step in range(1500)]
    assert stats.kstest(weights, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    assert weights[:9] == [mixup_weight(0, step, alpha) for step in range(9)]
    assert mixup_weight(1, 0, alpha) != weights[0]


def test_the_stream_is_pinned() -> None:
    """Keys promise these weights."""
    assert mixup_weight(0, 0, 1.0) == pytest.approx(PINNED, rel=1e-12)


PINNED = 0.19990313484045877


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan")])
def test_alpha_is_positive(alpha: float) -> None:
    with pytest.raises(InputError, match="a number > 0"):
        mixup_weight(0, 0, alpha)


def test_partners_are_a_permutation_of_the_global_batch() -> None:
    for size in (0, 1, 2, 100, 1000):
        partners = mixup_partners(3, 5, size, CPU)
        assert partners.sort().values.tolist() == list(range(size))
    assert torch.equal(mixup_partners(3, 5, 100, CPU), mixup_partners(3, 5, 100, CPU))
    assert not torch.equal(mixup_partners(3, 5, 100, CPU), mixup_partners(3, 6, 100, CPU))
    assert not torch.equal(mixup_partners(3, 5, 100, CPU), mixup_partners(4, 5, 100, CPU))


def test_all_permutations_are_equally_likely() -> None:
    seen = [tuple(mixup_partners(0, step, 3, CPU).tolist()) for step in range(1200)]
    counts = [seen.count(p) for p in set(seen)]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3


def test_mixing_images_and_labels() -> None:
    first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(mix(first, second, 0.3), torch.tensor([[0.3, 0.7]]))
    assert torch.equal(mix(first, second, 1.0), first)
    assert torch.equal(mix(first, second, 0.0), second)
