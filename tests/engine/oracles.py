"""A network whose formula fits on one line, and the papers' losses, for oracles in float64.

f(x, e) = B (e * tanh(A x + a)) + b,   e the mask of the site ``dropout``
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from engine.components import find
from engine.data.examples import Batch
from engine.distributed import Workers
from engine.methods.base import Composition
from engine.models.base import ModelInfo
from engine.models.dropout import Dropout
from engine.perturb.random import bernoulli, normal, uniform
from engine.slots.slots import Slots
from engine.state import State
from engine.step import Stepper

SEED, STEP, HIDDEN, CLASSES = 3, 11, 8, 3
NAMES = ("under.weight", "under.bias", "upper.weight", "upper.bias")
WEIGHTS = ("under.weight", "upper.weight")
INFO = ModelInfo({}, {}, NAMES, {}, sites=("dropout",), weights=WEIGHTS)
Named = dict[str, Tensor]


class Tiny(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.under, self.dropout, self.upper = nn.Linear(6, HIDDEN), Dropout(p), nn.Linear(HIDDEN, CLASSES)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.upper(self.dropout(self.under(x_BCHW.flatten(1)).tanh()))
        return out


def tiny(p: float = 0.0, seed: int = 0, views: int = 1) -> tuple[Tiny, Batch]:
    """A network that is far from uniform in its answers, and seven images of 2 x 3 pixels."""
    torch.manual_seed(seed)
    network = Tiny(p).double()
    with torch.no_grad():
        for w in network.parameters():
            w.mul_(2)
    x = tuple(torch.rand(7, 1, 2, 3, dtype=torch.float64) for _ in range(views))
    return network, Batch(x, torch.tensor([0, 1, 2, 0, 1, 2, 0]), torch.tensor([4, 40, 7, 3, 11, 0, 90]))


def theta_of(network: nn.Module, v: Named | None = None) -> Named:
    """The weights, moved by v, as leaves of a graph."""
    v = v or {}
    return {n: (w.detach() + v.get(n, 0)).requires_grad_() for n, w in network.named_parameters()}


def f(theta: Named, x: Tensor, e: Tensor | float = 1.0) -> Tensor:
    """Logits, from the formula above."""
    h = torch.tanh(x.flatten(1) @ theta["under.weight"].T + theta["under.bias"])
    return (h * e) @ theta["upper.weight"].T + theta["upper.bias"]


def probabilities(logits: Tensor) -> Tensor:
    return logits.exp() / logits.exp().sum(1, keepdim=True)


def ce(logits: Tensor, y: Tensor) -> Tensor:
    """-log q_y, one number per row."""
    return -probabilities(logits)[torch.arange(len(y)), y].log()


def kl(p: Tensor, q: Tensor) -> Tensor:
    """sum_c p_c (log p_c - log q_c), one number per row."""
    p, q = probabilities(p), probabilities(q)
    return (p * (p.log() - q.log())).sum(1)


def squared(p: Tensor, q: Tensor) -> Tensor:
    """Mean over the classes of (p - q)^2, one number per row."""
    return ((probabilities(p) - probabilities(q)) ** 2).sum(1) / p.shape[1]


def gradient(loss: Tensor, leaves: Named) -> Named:
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def by_x(loss: Any, x: Tensor) -> Tensor:
    """Gradient of a sum of rows' losses with respect to x."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(loss(x).sum(), x)[0]


def rows_norm(t: Tensor) -> Tensor:
    """||t_i||_2, shaped to broadcast."""
    return t.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def dropped(p: float, batch: Batch, branch: int = 0) -> Tensor:
    """The mask that the site draws, without its scale."""
    shape = (len(batch), HIDDEN)
    return bernoulli(SEED, STEP, f"dropout:dropout:{branch}", batch.index, shape, 1 - p).double()


def start_uniform(batch: Batch, epsilon: float) -> Tensor:
    x = batch.views[0]
    return epsilon * (2 * uniform(SEED, STEP, "start", batch.index, tuple(x.shape)).double() - 1)


def start_gaussian(batch: Batch, size: float) -> Tensor:
    return size * normal(SEED, STEP, "start", batch.index, tuple(batch.views[0].shape)).double()


def pgd(
    loss: Any, x: Tensor, r: Tensor, steps: int, epsilon: float, alpha: float, clamp: Any = (0, 1)
) -> Tensor:
    """x' by K signed steps, from the formula: Pi(x' + alpha sign(grad)), in the ball and in the range."""
    low, high = clamp or (-torch.inf, torch.inf)
    moved = torch.clip(x + torch.clip(r, -epsilon, epsilon), low, high)
    for _ in range(steps):
        moved = moved + alpha * torch.sign(by_x(loss, moved))
        moved = torch.clip(torch.clip(moved, x - epsilon, x + epsilon), low, high)
    return moved


def clipped(moved: Tensor, x: Tensor, clamp: Any) -> Tensor:
    """x' in the range; where x lies outside of it, between x and the range."""
    low, high = clamp
    moved = torch.where((moved < low) & (moved < x), torch.where(x < low, x, low), moved)
    return torch.where((moved > high) & (moved > x), torch.where(x > high, x, high), moved)


def slots_of(method: Any) -> Slots:
    """A preset by its name, or a composition, on this network."""
    settings = {"name": method} if isinstance(method, str) else method
    kind: Any = find("methods", settings["name"], "method.name") if "name" in settings else Composition
    found: Slots = kind.model_validate(settings).slots(INFO).collapsed()
    return found


def step(network: nn.Module, batch: Batch, method: Any, **options: Any) -> Named:
    """``.grad`` of all parameters after a step of the engine."""
    network.zero_grad()
    slots = method if isinstance(method, Slots) else slots_of(method)
    state = options.pop("state", None) or State(size=len(batch))
    stepper = Stepper(network, slots, SEED, Workers(), state=state)
    assert batch.labels is not None
    labelled = options.pop("labelled", len(batch.labels))
    places = options.pop("places", torch.arange(len(batch)))
    stepper.gradients(batch, STEP, labelled, places=places, **options)
    return {n: w.grad.clone() for n, w in network.named_parameters() if w.grad is not None}


def agree(found: Named, expected: Named, rel: float = 1e-6) -> None:
    """Every tensor within a relative error of 1e-6, in the norm."""
    assert found.keys() == expected.keys()
    for name, g in expected.items():
        error = float((found[name] - g).norm() / g.norm())
        assert error < rel, f"{name}: relative error {error:.2e}"
