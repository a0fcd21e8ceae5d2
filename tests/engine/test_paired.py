"""One seed is one data order, one draw of initial weights and one subset, whatever the method."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine import train as training
from engine.config import Trial
from engine.feed import Taken

METHODS: dict[str, Any] = {
    "standard": "standard",
    "dropattack": {"name": "dropattack", "targets": ["input", "conv1.w"], "epsilon": 5, "p": 0.5, "steps": 2},
    "at_awp": {"name": "at_awp", "steps": 2},
    "adaptive": {"name": "adaptive", "n": 8},
}


def trace(method: Any, seed: int) -> tuple[dict[str, torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    """Initial weights; labels and places of every batch, of a trial on 40 of the digits."""
    trial = Trial.model_validate({
        "data": {"name": "digits", "train_size": 40}, "model": "lenet5_8x8", "method": method,
        "epochs": 2, "batch_size": 16, "seed": seed,
    })  # fmt: skip
    weights: dict[str, torch.Tensor] = {}
    batches: list[Taken] = []

    class Watching(training.Feed):
        def take(self, places_B: torch.Tensor, step: int) -> Taken:
            taken = super().take(places_B, step)
            batches.append(taken)
            return taken

    class Noting(training.Stepper):
        def __init__(self, network: Any, *others: Any) -> None:
            weights.update({name: p.detach().clone() for name, p in network.named_parameters()})
            super().__init__(network, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "Feed", Watching)
        patch.setattr(training, "Stepper", Noting)
        assert training.train(trial).status == "completed"
    labels = [one.batch.labels for one in batches]
    assert all(label is not None for label in labels)
    return weights, [one.batch.index for one in batches], [label for label in labels if label is not None]


@pytest.mark.parametrize("method", [name for name in METHODS if name != "standard"])
def test_methods_of_one_seed_start_alike_and_see_the_same_batches(method: str) -> None:
    weights, order, labels = trace("standard", 3)
    others, other_order, other_labels = trace(METHODS[method], 3)
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert len(order) == 2 * 3
    assert all(map(torch.equal, order, other_order))
    assert all(map(torch.equal, labels, other_labels))
    assert len(torch.cat(order).unique()) == 40


def test_another_seed_has_another_start_order_and_subset() -> None:
    weights, order, labels = trace("standard", 3)
    others, other_order, other_labels = trace("standard", 4)
    assert not torch.equal(weights["conv1.weight"], others["conv1.weight"])
    assert not torch.equal(torch.cat(order), torch.cat(other_order))
    assert not torch.equal(torch.cat(labels), torch.cat(other_labels))
