"""The step against an oracle in float64 that is written from the formulas of :mod:`engine.slots.slots`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence

from engine.data.examples import Batch
from engine.distributed import Workers
from engine.methods.base import Composition
from engine.models.catalog import describe
from engine.perturb.random import bernoulli
from engine.slots.ascent import Ascent, InputAscent
from engine.slots.slots import Slots
from engine.step import Stepper
from tests.engine.oracles import clipped

SEED, STEP = 3, 11
LSTM = {"name": "lstm", "embedding_dim": 5, "hidden": 4}
LENET = {"name": "lenet5_8x8"}
Named = dict[str, Tensor]


def logits(network: nn.Module, batch: Batch, theta: Named, r: Tensor, clamp: Any) -> Tensor:
    """The model at theta and at the input moved by r, without a hook."""
    x = batch.views[0]
    if batch.lengths is None:
        moved = clipped(x + r, x, clamp) if clamp else x + r
        return functional_call(network, theta, (moved,))  # type: ignore[no-any-return]
    h = theta["embedding.weight"][x] + r
    h = h.clamp(*clamp) if clamp else h
    packed = pack_padded_sequence(h, batch.lengths, batch_first=True, enforce_sorted=False)
    lstm = {name[5:]: t for name, t in theta.items() if name.startswith("lstm.")}
    _, (last, _) = functional_call(network.get_submodule("lstm"), lstm, (packed,))
    return last[0] @ theta["fc.weight"].T + theta["fc.bias"]  # type: ignore[no-any-return]


def gradient(network: nn.Module, batch: Batch, moved: Mapping[str, Tensor], clamp: Any = None) -> Named:
    """grad L at theta + moved, of all parameters and of the input; L is the mean over the batch."""
    theta = {n: (w.detach() + moved.get(n, 0)).requires_grad_() for n, w in network.named_parameters()}
    x = batch.views[0]
    shape = x.shape if batch.lengths is None else (*x.shape, theta["embedding.weight"].shape[1])
    r = moved.get("input", torch.zeros(shape, dtype=torch.float64)).clone().requires_grad_()
    assert batch.labels is not None
    loss = nn.functional.cross_entropy(logits(network, batch, theta, r, clamp), batch.labels)
    found = torch.autograd.grad(loss, [*theta.values(), r])
    return dict(zip([*theta, "input"], found, strict=True))


def direction(g: Named, over: str) -> Named:
    """g / ||g||, and 0 where g is 0."""
    if over == "joint":
        norm = torch.cat([t.flatten() for t in g.values()]).norm()
        return {n: t / norm for n, t in g.items()}
    if over == "tensor":
        return {n: t / t.norm() for n, t in g.items()}
    return {n: torch.stack([e / e.norm() if e.norm() > 0 else e for e in t]) for n, t in g.items()}


def ball(r: Named, radius: float, over: str) -> Named:
    unit = direction(r, over)
    if over == "joint":
        norm = torch.cat([t.flatten() for t in r.values()]).norm()
        return {n: unit[n] * min(norm.item(), radius) for n in r}
    if over == "tensor":
        return {n: unit[n] * min(t.norm().item(), radius) for n, t in r.items()}
    scale = {n: [min(e.norm().item(), radius) for e in t] for n, t in r.items()}
    return {n: torch.stack([u * s for u, s in zip(unit[n], scale[n], strict=True)]) for n in r}


def move(slot: Ascent, r: Named, g: Named) -> Named:
    """r^t from r^{t-1} and g^t."""
    unit = direction(g, slot.norm_over)
    if slot.update == "replace":
        return {n: slot.epsilon * u for n, u in unit.items()}
    if slot.update == "accumulate":
        return {n: r[n] + slot.epsilon * u for n, u in unit.items()}
    assert slot.step_size is not None
    return ball({n: r[n] + slot.step_size * u for n, u in unit.items()}, slot.epsilon, slot.norm_over)


def mask(slot: Ascent, name: str, shape: torch.Size, batch: Batch) -> Tensor:
    rows = batch.index if name == "input" else torch.arange(shape[0])
    drawn = bernoulli(SEED, STEP, name, rows, tuple(shape), torch.tensor(slot.p))
    return drawn.double() * (1 / slot.p if slot.mask_scale == "inverse_p" else 1.0)


def oracle(network: nn.Module, batch: Batch, slots: Slots) -> Named:
    """What ``.grad`` should hold."""
    g0 = gradient(network, batch, {})
    total = {n: slots.clean * g0[n] for n, _ in network.named_parameters()}
    for slot in (slots.input, slots.weight):
        if slot is None:
            continue
        clamp = slot.clamp if isinstance(slot, InputAscent) else None
        g = {n: g0[n] for n in slot.targets}
        masks = {n: mask(slot, n, g[n].shape, batch) for n in slot.targets}
        r = move(slot, {n: torch.zeros_like(t) for n, t in g.items()}, g)
        for t in range(1, slot.steps + 1):
            found = gradient(network, batch, {n: masks[n] * r[n] for n in r}, clamp)
            weight = 1 / slot.steps if slot.learn_from == "all" else float(t == slot.steps)
            total = {n: total[n] + weight * found[n] for n in total}
            if slot.gradient == "accumulated":
                g = {n: g[n] + found[n] / slot.steps for n in g}
            else:
                g = {n: found[n] for n in g}
            r = move(slot, r, g)
    return total


def dropattack(*targets: str, **settings: Any) -> dict[str, Any]:
    return {"name": "dropattack", "targets": list(targets), "epsilon": 2.0, "p": 0.5, **settings}


def image(**settings: Any) -> dict[str, Any]:
    return {"targets": ["input"], "epsilon": 1.5, "p": 0.5, **settings}


def weights(*targets: str, **settings: Any) -> dict[str, Any]:
    return {"targets": list(targets), "epsilon": 0.7, "p": 0.5, **settings}


CONV = ("input", "conv1.w", "conv2.b")
TEXT = ("embedding", "lstm.ih.w", "fc.b")
PROJECT = {"update": "project", "step_size": 0.4}
LAST = {"gradient": "current", "learn_from": "last"}
CASES: list[tuple[dict[str, Any], Any]] = [
    (LENET, {"name": "standard"}),
    (LENET, {"name": "fgm"}),
    (LENET, {"name": "fgm", "norm_over": "sample"}),
    (LENET, {"name": "pgd", "epsilon": 0.5}),
    (LENET, {"name": "pgd", "norm_over": "sample", "steps": 4}),
    (LENET, dropattack(*CONV)),
    (LENET, dropattack(*CONV, steps=3)),
    (LENET, dropattack(*CONV, steps=3, update="accumulate")),
    (LENET, dropattack(*CONV, steps=3, norm_over="joint", epsilon={"input": 3, "weight": 0.2})),
    (LENET, dropattack(*CONV, steps=3, norm_over="sample", p={"input": 0.3, "weight": 0.8})),
    (LENET, dropattack(*CONV, steps=2, mask_scale="inverse_p", p=0.4)),
    (LENET, dropattack(*CONV, steps=3, clean_weight=2)),
    (LENET, dropattack(*CONV, clean_weight=0)),
    (LENET, dropattack(*CONV, steps=3, clamp=[0.1, 0.9])),
    (LENET, {"input": image(steps=3, learn_from="last")}),
    (LENET, {"input": image(steps=3, **PROJECT, **LAST), "clean": 0}),
    (LENET, {"weight": weights("conv?.*", "fc1.w", steps=3, norm_over="joint", **PROJECT)}),
    (LENET, {"input": image(**PROJECT), "weight": weights("fc*.weight", steps=2, **LAST), "clean": 0.5}),
    (LSTM, dropattack(*TEXT, steps=3)),
    (LSTM, dropattack(*TEXT, steps=3, update="accumulate", norm_over="joint")),
    (LSTM, dropattack(*TEXT, steps=2, input_as="activations")),
    (LSTM, dropattack("input", steps=2, input_as="activations", norm_over="sample", clamp=[-1, 1])),
    (LSTM, {"name": "pgd", "epsilon": 0.5}),
    (LSTM, {"name": "fgm", "input_as": "activations", "norm_over": "sample"}),
]


def resolved(model: dict[str, Any], method: dict[str, Any]) -> Slots:
    from engine.components import find

    kind = find("methods", method["name"], "method.name") if "name" in method else Composition
    return kind.model_validate(method).slots(describe(model)).collapsed()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(("model", "method"), CASES, ids=lambda value: str(value.get("name", "slots")))
def test_the_step_is_what_the_formulas_say(
    make_network: Callable[..., Any], model: dict[str, Any], method: dict[str, Any]
) -> None:
    network, batch = make_network(model, seed=1)
    slots = resolved(model, method)
    expected = oracle(network, batch, slots)
    Stepper(network, slots, SEED, Workers()).gradients(batch, STEP, len(batch))
    for name, w in network.named_parameters():
        assert w.grad is not None
        error = (w.grad - expected[name]).norm() / expected[name].norm()
        assert error < 1e-6, f"{name}: relative error {error:.2e}"


def test_the_cases_differ(make_network: Callable[..., Any]) -> None:
    network, batch = make_network(LENET, seed=1)
    images = [resolved(model, method) for model, method in CASES if model is LENET]
    found = [oracle(network, batch, slots)["conv1.weight"] for slots in images]
    pairs = [(i, j) for i in range(len(found)) for j in range(i)]
    close = [(i, j) for i, j in pairs if (found[i] - found[j]).norm() / found[i].norm() < 1e-4]
    assert not close, "a setting that changes nothing proves nothing"


def test_clean_leaves_sums_and_gradients(make_network: Callable[..., Any]) -> None:
    network, batch = make_network(LENET)
    slots = resolved(LENET, dropattack(*CONV))
    clean = Stepper(network, slots, SEED, Workers()).gradients(batch, STEP, len(batch))
    logits_BC = network(batch.views[0])
    assert clean.loss == nn.functional.cross_entropy(logits_BC, batch.labels, reduction="sum")
    assert clean.correct == (logits_BC.argmax(1) == batch.labels).sum()
    g0 = gradient(network, batch, {})
    assert set(clean.gradients) == {"input", "conv1.weight", "conv2.bias"}
    assert all(torch.allclose(g.double(), g0[n], rtol=1e-6, atol=1e-9) for n, g in clean.gradients.items())
