"""Free adversarial training and FreeLB: what a step carries along, by hand in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from engine.data.examples import Batch
from engine.distributed import Workers
from engine.perturb.random import uniform
from engine.slots.ascent import InputAscent
from engine.slots.attack import Replay
from engine.slots.slots import Slots
from engine.state import State
from engine.step import Stepper
from tests.engine.oracles import (
    SEED,
    STEP,
    Named,
    Tiny,
    agree,
    by_x,
    ce,
    clipped,
    dropped,
    f,
    gradient,
    rows_norm,
    step,
    theta_of,
    tiny,
)

LR = 0.5


def replayed(network: Tiny, batches: list[Batch], slot: Replay) -> tuple[Named, Tensor | None]:
    """The engine over some batches, with plain gradient steps; the weights and the carried r."""
    stepper = Stepper(network, Slots(input=slot), SEED, Workers(), state=State())

    def update() -> None:
        with torch.no_grad():
            for w in network.parameters():
                assert w.grad is not None
                w -= LR * w.grad
                w.grad = None

    for batch in batches:
        stepper.gradients(batch, STEP, len(batch), update=update)
        update()
    return {n: w.detach().clone() for n, w in network.named_parameters()}, stepper.state.replay


def by_formula(network: Tiny, batches: list[Batch], slot: Replay) -> tuple[Named, Tensor]:
    """Algorithm 1 of Shafahi et al.: theta and r move along the gradients of one backward pass."""
    theta: Named = {n: w.detach().clone() for n, w in network.named_parameters()}
    r_all = torch.zeros_like(batches[0].views[0])
    alpha = slot.epsilon if slot.step_size is None else slot.step_size

    def ball(r: Tensor, x: Tensor) -> Tensor:
        if slot.norm == "linf":
            r = r.clip(-slot.epsilon, slot.epsilon)
        else:
            r = r * (slot.epsilon / rows_norm(r).clip(min=slot.epsilon))
        return r if slot.clamp is None else clipped(x + r, x, slot.clamp) - x

    for batch in batches:
        x, y, size = batch.views[0], batch.labels, len(batch)
        r = r_all[:size].clone()
        if not slot.carry:
            u = uniform(SEED, STEP, "start", batch.index, tuple(x.shape)).double()
            r = (2 * u - 1) * slot.epsilon / 6**0.5
        for _ in range(slot.replays):
            r = ball(r, x)
            leaves = {n: w.requires_grad_() for n, w in theta.items()}
            g = gradient(ce(f(leaves, x + r), y).mean(), leaves)  # type: ignore[arg-type]
            still = {n: w.detach() for n, w in theta.items()}
            g_r = by_x(lambda m, at=still, y=y: ce(f(at, m), y), x + r)  # type: ignore[misc]
            theta = {n: still[n] - LR * g[n] for n in still}
            r = ball(r + alpha * (g_r.sign() if slot.norm == "linf" else g_r / rows_norm(g_r)), x)
        r_all[:size] = r
    return theta, r_all


@pytest.mark.parametrize(
    "settings",
    [
        {"replays": 1, "epsilon": 0.1},
        {"replays": 3, "epsilon": 0.1},
        {"replays": 3, "epsilon": 0.1, "step_size": 0.03, "clamp": None},
        {"replays": 3, "epsilon": 0.1, "step_size": 0.03, "clamp": (0.2, 0.7)},
        {"replays": 2, "epsilon": 0.4, "norm": "l2", "step_size": 0.3},
        {"replays": 3, "epsilon": 0.4, "norm": "l2", "carry": False, "clamp": None},
    ],
)
def test_free_training_is_algorithm_1(settings: dict[str, Any]) -> None:
    slot = Replay(kind="replay", **settings)
    network, batch = tiny()
    batches = [batch, tiny(seed=1)[1], batch.part(0, 4)]  # the last batch of an epoch is smaller
    expected, r = by_formula(network, batches, slot)
    found, carried = replayed(network, batches, slot)
    agree(found, expected)
    if slot.carry:
        assert carried is not None
        assert torch.allclose(carried, r, rtol=1e-6, atol=1e-9)
    else:
        assert carried is None


def test_pseudo_labelled_examples_have_perturbations_of_their_own() -> None:
    network, batch = tiny()
    mixed = Batch(batch.views, batch.labels, batch.index, extra=3, pseudo=True)
    state = State()
    slots = Slots(input=Replay(kind="replay", replays=2, epsilon=0.1))
    step(network, mixed, slots, labelled=4, examples=7, state=state)
    assert state.replay is not None
    assert state.replay.shape == batch.views[0].shape
    assert state.replay.flatten(1).any(1).all()


def freelb(passes: int, **settings: Any) -> dict[str, Any]:
    return {"name": "freelb", "steps": passes, "epsilon": 0.3, "step_size": 0.2, "init": 0.25, **settings}


@pytest.mark.parametrize("passes", [2, 3, 5])
@pytest.mark.parametrize("init", [0.0, 0.25])
def test_freelb(passes: int, init: float) -> None:
    network, batch = tiny(p=0.5)
    theta, x, y, e = theta_of(network), batch.views[0], batch.labels, dropped(0.5, batch) * 2
    still = {n: w.detach() for n, w in theta.items()}
    r = init * (2 * uniform(SEED, STEP, "start", batch.index, tuple(x.shape)).double() - 1) / 6**0.5
    total = torch.zeros(())
    for _ in range(passes):
        total = total + ce(f(theta, x + r, e), y).mean() / passes  # type: ignore[arg-type]
        g = by_x(lambda m: ce(f(still, m, e), y), x + r)  # type: ignore[arg-type]
        r = r + 0.2 * g / rows_norm(g)
        r = r * (0.3 / rows_norm(r)).clip(max=1)
    agree(step(network, batch, freelb(passes, init=init)), gradient(total, theta))


def test_all_passes_of_a_step_have_one_dropout_mask() -> None:
    network, batch = tiny(p=0.5)
    seen: list[Tensor] = []
    network.upper.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach() == 0))
    step(network, batch, freelb(4))
    assert len(seen) == 4
    assert all(torch.equal(mask, dropped(0.5, batch) == 0) for mask in seen)
    step(network, batch, {"name": "trades", "mode": "train"})
    assert all(torch.equal(mask, seen[0]) for mask in seen), "attacks in train mode too"


def test_a_random_start_stays_within_its_bound() -> None:
    network, batch = tiny()
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    step(network, batch, freelb(2))
    size = (seen[0] - batch.views[0]).flatten(1).norm(dim=1)
    assert (size > 0).all()
    assert (size <= 0.25).all()
    assert ((seen[1] - seen[0]).flatten(1).norm(dim=1) > 0.01).all()


@pytest.mark.parametrize("start", [0.0, 0.2])
def test_examples_that_are_not_chosen_stay_where_they_are(start: float) -> None:
    network, batch = tiny()
    ascent = InputAscent(
        targets=("input",), epsilon=0.3, steps=2, update="project", step_size=0.2, start=start
    )
    some = Batch(batch.views, batch.labels, batch.index, chosen=torch.tensor([0, 5]))
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    step(network, some, Slots(input=ascent))
    others = torch.tensor([1, 2, 3, 4, 6])
    assert all(torch.equal(x[others], batch.views[0][others]) for x in seen)
    assert not torch.equal(seen[-1], batch.views[0])
