"""The worst cases of the input and weight slots: x' by an attack, v by steps relative to the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.branches import base_mask
from engine.data.examples import Batch
from engine.gradients import Gradients
from engine.models.dropout import Noise, masked
from engine.objective import divergence, supervised
from engine.perturb.inputs import Draw, ascend
from engine.perturb.modes import attackable
from engine.perturb.random import bernoulli
from engine.perturb.targets import content, input_shape, perturbed
from engine.perturb.weights import project, random_relative, relative_step
from engine.slots.attack import Attack
from engine.slots.weight import RandomRelative, Relative
from engine.turn import Point, Turn

Named = dict[str, Tensor]


def attack(slot: Attack, turn: Turn, gradients: Gradients) -> Tensor:
    """x' - x of the batch at the present weights; 0 for rows that are not attacked.

    No parameter's gradient is computed. The passes run in the slot's own mode.
    """
    batch = turn.batch
    like = _pixels(gradients.network, batch)
    if batch.chosen is not None:
        return _attack_chosen(slot, turn, gradients, like, batch.chosen)
    moved = [
        _attack(slot, part.batch, turn, part.aims.labels, gradients, like[rows])
        for rows, part in turn.parts()
    ]
    return moved[0] if len(moved) == 1 else torch.cat(moved)


def _attack_chosen(slot: Attack, turn: Turn, gradients: Gradients, like: Tensor, chosen: Tensor) -> Tensor:
    """The attack on some rows. A worker without any takes its part in the others' statistics."""
    found = torch.zeros_like(like)
    if len(chosen) == 0 and (gradients.workers.size == 1 or not gradients.passes.norms):
        return found
    few = chosen.to(like.device, non_blocking=True)
    r = _attack(slot, turn.batch.rows(chosen), turn, turn.aims.labels[few], gradients, like[few])
    return found.index_copy_(0, few, r)


def _attack(
    slot: Attack, batch: Batch, turn: Turn, labels: Tensor, gradients: Gradients, like: Tensor
) -> Tensor:
    passes = gradients.passes
    live = slot.mode == "train" and slot.statistics == "live"
    noise = passes.noise(Noise(gradients.seed, turn.step, batch.index))
    base = masked(gradients.network, base_mask(gradients.slots.dropout))
    with attackable(gradients.network, slot.mode), passes.frozen(not live), noise, base:
        p_BC = None
        if slot.against == "prediction":
            with torch.no_grad():
                p_BC = passes.logits(batch)

        def gradient(r: Tensor) -> Tensor:
            r = r.detach().requires_grad_()
            q_BC = passes.logits(batch, 0, r)
            if p_BC is not None:
                lost_B = divergence("kl", p_BC, q_BC)
            else:
                lost_B = supervised(q_BC[: len(labels)], labels)
            return torch.autograd.grad(passes.summed(lost_B), r)[0]

        draw = Draw(gradients.seed, turn.step, batch.index)
        return ascend(slot, like, gradient, draw, content(batch))


def adversarial_weights(
    slot: Relative, turn: Turn, point: Point, gradients: Gradients, attacked: Attack | None
) -> tuple[Named, Point]:
    """v, and the point with the last x'.

    The input's attack is remade at theta + v in each of the A alternations; the first has v = 0.
    """
    network = gradients.network
    w = {name: network.get_parameter(name).detach().clone() for name in slot.targets}
    masks = _masks(slot, w, gradients.seed, turn.step)
    v: Named = {}
    for _ in range(slot.alternations):
        if attacked is not None:
            with perturbed(network, _masked(v, masks)):
                point = Point(point.r, point.clamp, attack(attacked, turn, gradients))
        for _ in range(slot.steps):
            with perturbed(network, _masked(v, masks)):
                live = slot.statistics == "live"
                g = gradients.at(turn, point, wanted=slot.targets, live=live).gradients
            v = project(relative_step(v, g, w, slot.eta, slot.size_norm), w, slot.gamma, slot.size_norm)
    return _masked(v, masks), point


def random_weights(slot: RandomRelative, turn: Turn, gradients: Gradients) -> Named:
    """v of random direction."""
    w = {name: gradients.network.get_parameter(name).detach() for name in slot.targets}
    return random_relative(w, slot.gamma, gradients.seed, turn.step)


def _masks(slot: Relative, w: Named, seed: int, step: int) -> Named:
    if slot.p == 1:
        return {}
    rows = {name: torch.arange(len(t), device=t.device) for name, t in w.items()}
    return {name: bernoulli(seed, step, name, rows[name], tuple(t.shape), slot.p) for name, t in w.items()}


def _masked(v: Named, masks: Named) -> Named:
    return {name: t * masks[name] if name in masks else t for name, t in v.items()}


def _pixels(network: nn.Module, batch: Batch) -> Tensor:
    """The input tensor; zeros of its shape for a text, whose embedding has no range to keep."""
    if batch.lengths is None:
        return batch.views[0]
    return torch.zeros(input_shape(network, batch), device=batch.index.device)
