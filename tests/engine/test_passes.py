"""BatchNorm's running statistics: which passes of a step move them, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.data.examples import Batch
from engine.distributed import Workers
from engine.models.dropout import Dropout
from engine.models.norm import MeanOnlyBatchNorm2d
from engine.slots.slots import Slots
from engine.state import State
from engine.step import Stepper
from tests.engine.oracles import SEED, slots_of


class Normed(nn.Module):
    """Has the parameter names of the tiny network, and a normalisation between its layers."""

    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.under, self.norm = nn.Conv2d(1, 4, 2), norm(4)
        self.dropout, self.upper = Dropout(0.0), nn.Linear(8, 3)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h = self.norm(self.under(x_BCHW)).tanh()
        out: Tensor = self.upper(self.dropout(h.flatten(1)))
        return out


def normed(norm: type[nn.Module]) -> tuple[Normed, Batch]:
    torch.manual_seed(0)
    network = Normed(norm).double()
    x = torch.rand(6, 1, 2, 3, dtype=torch.float64)
    return network, Batch((x, torch.rand_like(x)), torch.tensor([0, 1, 2, 0, 1, 2]), torch.arange(6))


PGD = {"kind": "attack", "epsilon": 0.2, "step_size": 0.1, "steps": 3}
AT = {"natural": 0.0, "terms": [{"branch": "attack", "divergence": "ce"}]}
AWP = {"kind": "relative", "gamma": 0.2}
MEASURES: list[tuple[dict[str, Any], int]] = [
    ({"name": "standard"}, 1),
    ({"input": PGD, "objective": AT}, 3 + 1),
    ({"input": {**PGD, "statistics": "frozen"}, "objective": AT}, 1),
    ({"input": {**PGD, "mode": "eval"}, "objective": AT}, 1),
    ({"name": "trades", "steps": 2}, 2),
    ({"name": "mart", "steps": 2}, 2),
    ({"input": {**PGD, "mode": "eval"}, "weight": {**AWP, "steps": 2}, "objective": AT}, 1),
    (
        {
            "input": {**PGD, "mode": "eval"},
            "weight": {**AWP, "steps": 2, "statistics": "live"},
            "objective": AT,
        },
        3,
    ),
    ({"input": {**PGD, "mode": "eval"}, "weight": {"kind": "random", "gamma": 0.2}, "objective": AT}, 1),
    ({"name": "dropattack", "targets": ["input", "upper.weight"], "steps": 2}, 1 + 2 + 2),
    ({"weight": {"targets": ["upper.weight"], "epsilon": 1, "steps": 3, "statistics": "frozen"}}, 1),
    ({"name": "freelb"}, 3),
    ({"name": "free_at"}, 3),
    ({"name": "vat", "iterations": 2}, 2),
    ({"name": "vadd", "delta": 0.3}, 2),
    ({"name": "sadd", "delta": 0.3}, 2),
    ({"name": "pi_model"}, 2),
    ({"name": "temporal"}, 1),
]


def take(network: nn.Module, batch: Batch, slots: Slots) -> None:
    stepper = Stepper(network, slots, SEED, Workers(), state=State(size=6))
    stepper.gradients(batch, 0, 6, epoch=20.0, places=torch.arange(6))


@pytest.mark.parametrize(("method", "moves"), MEASURES)
def test_only_the_passes_that_shall_move_statistics_do(method: dict[str, Any], moves: int) -> None:
    network, batch = normed(nn.BatchNorm2d)
    take(network, batch, slots_of(method))
    assert int(network.norm.num_batches_tracked) == moves  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, MeanOnlyBatchNorm2d])
def test_frozen_passes_leave_statistics_bitwise_as_one_plain_pass_does(norm: type[nn.Module]) -> None:
    """Where weights and inputs of the pass that is learnt from are x and theta themselves."""
    plain, batch = normed(norm)
    take(plain, batch, Slots())
    slots = {"weight": {"targets": ["under.weight"], "epsilon": 2.0, "steps": 3, "statistics": "frozen"}}
    attacked, _ = normed(norm)
    take(attacked, batch, slots_of(slots))
    for name, value in plain.norm.state_dict().items():
        assert torch.equal(value, attacked.norm.state_dict()[name]), name
    live, _ = normed(norm)
    take(live, batch, slots_of({"weight": {**slots["weight"], "statistics": "live"}}))
    assert not torch.equal(live.norm.running_mean, plain.norm.running_mean)  # type: ignore[arg-type]
    assert all(
        m.track_running_stats
        for n in (attacked, live)
        for m in n.modules()
        if hasattr(m, "track_running_stats")
    )


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, MeanOnlyBatchNorm2d])
def test_frozen_passes_see_the_statistics_of_their_batch(norm: type[nn.Module]) -> None:
    seen = {}
    for kind in ("frozen", "live"):
        network, batch = normed(norm)
        logits: list[Tensor] = []
        network.register_forward_hook(lambda module, given, out, logits=logits: logits.append(out.detach()))
        take(network, batch, slots_of({"input": {**PGD, "statistics": kind}, "objective": AT}))
        seen[kind] = logits
    assert all(torch.equal(a, b) for a, b in zip(*seen.values(), strict=True))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, MeanOnlyBatchNorm2d])
def test_attacks_in_eval_mode_use_the_running_statistics(norm: type[nn.Module]) -> None:
    network, batch = normed(norm)
    logits: list[Tensor] = []
    network.register_forward_hook(lambda module, given, out: logits.append(out.detach()))
    take(network, batch, slots_of({"input": {**PGD, "mode": "eval", "start": "zero"}, "objective": AT}))
    again, _ = normed(norm)
    assert torch.equal(logits[0], again.eval()(batch.views[0]))
    assert not torch.allclose(logits[0], again.train()(batch.views[0]))
    assert network.training


def test_a_failing_pass_leaves_statistics_tracked() -> None:
    network, batch = normed(nn.BatchNorm2d)

    def breaks(module: nn.Module, given: Any) -> None:
        raise RuntimeError("broken pass")

    network.register_forward_pre_hook(breaks)
    with pytest.raises(RuntimeError, match="broken pass"):
        take(network, batch, slots_of({"input": {**PGD, "statistics": "frozen"}, "objective": AT}))
    assert network.norm.track_running_stats
    assert network.training
