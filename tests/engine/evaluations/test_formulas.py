"""Each attack's steps, worked out again in NumPy and float64 on a linear network; what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.data.examples import Batch
from engine.evaluations.attacks import AttackConfig
from engine.evaluations.nested import evaluation
from engine.evaluations.robust import Point, losses
from engine.perturb.inputs import start

Array = NDArray[np.float64]


class Linear(nn.Module):
    """z = W x + b on 3 x 3 images, in float64."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.fc = nn.Linear(9, classes).double()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        logits_BC: Tensor = self.fc(x_BCHW.flatten(1))
        return logits_BC


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(2)
    return Batch(
        (torch.rand(5, 1, 3, 3, dtype=torch.float64),), torch.tensor([0, 1, 2, 3, 1]), torch.arange(5) * 7
    )


def gradient(w_CD: Array, b_C: Array, x_D: Array, y: int, loss: str) -> Array:
    """By x, for one example."""
    z_C = w_CD @ x_D + b_C
    if loss == "ce":
        q_C = np.exp(z_C - z_C.max()) / np.exp(z_C - z_C.max()).sum()
        return w_CD.T @ (q_C - np.eye(len(z_C))[y])
    other = max((k for k in range(len(z_C)) if k != y), key=lambda k: z_C[k])
    return w_CD[other] - w_CD[y]


def ascended(network: Linear, batch: Batch, config: Any, r0: Array, loss: str) -> Array:
    """K projected steps from r0, one example after the other."""
    w_CD, b_C = network.fc.weight.detach().numpy(), network.fc.bias.detach().numpy()
    assert batch.labels is not None
    found = []
    for x_D, y, r_D in zip(batch.views[0].flatten(1).numpy(), batch.labels.tolist(), r0, strict=True):
        r = np.clip(x_D + r_D, 0, 1) - x_D
        for _ in range(getattr(config, "steps", 1)):
            g = gradient(w_CD, b_C, x_D + r, y, loss)
            unit = np.sign(g) if config.norm == "linf" else g / np.sqrt((g**2).sum())
            r = r + getattr(config, "step_size", config.epsilon) * unit
            if config.norm == "linf":
                r = np.clip(r, -config.epsilon, config.epsilon)
            else:
                r = r * min(1.0, config.epsilon / np.sqrt((r**2).sum()))
            r = np.clip(x_D + r, 0, 1) - x_D
        found.append(r)
    return np.stack(found)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    ("settings", "loss"),
    [
        ({"name": "fgsm"}, "ce"),
        ({"name": "pgd", "steps": 7, "step_size": 0.07, "start": "zero"}, "ce"),
        ({"name": "pgd", "steps": 7, "step_size": 0.07, "restarts": 2}, "ce"),
        ({"name": "pgd", "steps": 7, "step_size": 0.07, "loss": "margin"}, "margin"),
        ({"name": "cw", "steps": 7, "step_size": 0.07}, "margin"),
    ],
)
def test_steps(batch: Batch, settings: dict[str, Any], loss: str, norm: str) -> None:
    network = Linear()
    config: Any = evaluation({**settings, "norm": norm, "epsilon": 0.2, "seed": 3})
    point = Point(network, batch, config.ascended, (0.0, 1.0))
    tried = list(config.tries(point))
    assert len(tried) == getattr(config, "restarts", 1)
    for restart, r in enumerate(tried):
        r0 = np.zeros((5, 9))
        if getattr(config, "start", "zero") == "uniform":
            r0 = start(config.attack((0.0, 1.0)), point.x, point.draw(3, restart)).flatten(1).numpy()
        expected = ascended(network, batch, config, r0, loss)
        assert np.abs(r.flatten(1).numpy() - expected).max() < 1e-6
        assert np.abs(expected).max() > 0.05


@pytest.mark.parametrize("kind", ["ce", "margin"])
def test_losses(kind: Any) -> None:
    torch.manual_seed(0)
    logits_BC, y_B = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])
    expected = []
    for z, y in zip(logits_BC.numpy(), y_B.tolist(), strict=True):
        if kind == "ce":
            expected.append(np.log(np.exp(z).sum()) - z[y])
        else:
            expected.append(max(z[k] for k in range(4) if k != y) - z[y])
    found = losses(logits_BC, y_B, kind)
    assert np.abs(found.numpy() - np.array(expected)).max() < 1e-12
    if kind == "margin":
        assert torch.equal(found > 0, logits_BC.argmax(1) != y_B)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["pgd", "fgsm", "cw", "spsa"])
def test_in_the_ball_and_in_the_range(batch: Batch, norm: str, name: str) -> None:
    small = {"steps": 3} if name != "fgsm" else {}
    few = {"samples": 4, "lr": 0.3} if name == "spsa" else {}
    config = evaluation({"name": name, "norm": norm, "epsilon": 0.3, **small, **few})
    assert isinstance(config, AttackConfig)
    point = Point(
        Linear().float(), Batch((batch.views[0].float(),), batch.labels, batch.index), "ce", (0.0, 1.0)
    )
    for r in config.tries(point):
        size = r.abs().max() if norm == "linf" else r.flatten(1).norm(dim=1).max()
        assert 0.1 < size <= 0.3 * (1 + 1e-6)
        assert (point.x + r).min() >= -1e-7
        assert (point.x + r).max() <= 1 + 1e-7


def test_the_worst_restart_counts_example_by_example(batch: Batch) -> None:
    """Wrong before right, then the larger loss: against a loop over examples and tries."""
    from engine.evaluations.robust import _worst

    torch.manual_seed(5)
    scripted = [0.2 * torch.randn(5, 1, 3, 3, dtype=torch.float64) for _ in range(4)]

    class Scripted(AttackConfig):
        def tries(self, point: Point) -> Any:
            return iter(scripted)

    network = Linear()
    with torch.no_grad():
        labels = network(batch.views[0]).argmax(1)
        labels[0] = (labels[0] + 1) % 4
        batch = Batch(batch.views, labels, batch.index)
        point = Point(network, batch, "ce", None)
        totals_E, right_EB = _worst(point, Scripted(name="scripted"))
    assert batch.labels is not None
    total, right = 0.0, []
    for i, y in enumerate(batch.labels.tolist()):
        seen = []
        for r in [torch.zeros_like(scripted[0]), *scripted]:
            z = network((batch.views[0] + r)[i : i + 1])[0].detach()
            seen.append((int(z.argmax()) != y, float(z.logsumexp(0) - z[y])))
        wrong, worst = max(seen)
        total += worst
        right.append(not wrong)
    assert float(totals_E[1]) == pytest.approx(total, rel=1e-12)
    assert right_EB[1].tolist() == right
    assert 0 < sum(right) < int(right_EB[0].sum())


def test_pixels_beyond_the_range_by_rounding_still_have_a_gradient(batch: Batch) -> None:
    """x + r lies an ulp outside where fl(x + fl(1 - x)) > 1; those pixels must stay movable."""
    x = torch.rand(4, 1, 3, 3)
    point = Point(
        Linear().float(), Batch((x,), torch.tensor([0, 1, 2, 3]), torch.arange(4)), "ce", (0.0, 1.0)
    )
    assert (point.gradient(1 - x + 1e-6) != 0).all()


def test_padding_is_not_attacked_and_takes_no_part_of_the_ball(make_network: Callable[..., Any]) -> None:
    network, batch = make_network({"name": "lstm", "embedding_dim": 4, "hidden": 3})
    network.float().eval()
    for settings in ({"norm": "l2"}, {"norm": "linf"}):
        config = evaluation({"name": "pgd", "epsilon": 0.5, "step_size": 0.2, "steps": 2, **settings})
        assert isinstance(config, AttackConfig)
        point = Point(network, batch, "ce", None)
        assert point.inside is not None
        (r_BTD,) = config.tries(point)
        outside = ~point.inside.expand_as(r_BTD)
        assert outside.any()
        assert (r_BTD[outside] == 0).all()
        longer = torch.cat([batch.views[0], torch.zeros(6, 3, dtype=torch.int64)], 1)
        wide = Point(network, Batch((longer,), batch.labels, batch.index, batch.lengths), "ce", None)
        (again_BTD,) = config.tries(wide)
        assert torch.allclose(again_BTD[:, :4], r_BTD, atol=1e-6)
