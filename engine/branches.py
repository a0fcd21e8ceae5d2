"""The branches of an objective: logits of the same network at the points that the slots name."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from engine.models.dropout import Noise, masked, recorded, sites
from engine.objective import divergence, supervised
from engine.passes import Passes
from engine.perturb.inputs import Draw, virtual
from engine.perturb.masks import adversarial_mask, rescaled, unit_scale
from engine.perturb.targets import content, input_shape
from engine.slots.attack import Virtual
from engine.slots.dropout import AdversarialDropout
from engine.slots.objective import Branch
from engine.slots.slots import Slots
from engine.state import State
from engine.turn import Point, Turn

VIEW = 1
"""Noise branch of the second view; all other passes of a step share the masks of branch 0."""


class Branches:
    """Logits_BC by branch for one pass, each computed when it is first asked for."""

    def __init__(self, passes: Passes, slots: Slots, turn: Turn, point: Point, state: State, seed: int):
        self.passes, self.slots, self.turn, self.point = passes, slots, turn, point
        self.state, self.seed = state, seed
        self.found: dict[str, Tensor] = {}

    def __call__(self, branch: Branch | Literal["natural"]) -> Tensor:
        """Logits_BC of a branch."""
        if branch not in self.found:
            self.found[branch] = getattr(self, f"_{branch}")()
        return self.found[branch]

    def _natural(self) -> Tensor:
        point, batch = self.point, self.turn.batch
        if self.slots.dropout is None:
            logits = self.passes.logits(batch, 0, point.r, point.clamp)
        else:
            site = sites(self.passes.network)[self.slots.dropout.site]
            with masked(self.passes.network, base_mask(self.slots.dropout)), recorded(site):
                logits = self.passes.logits(batch, 0, point.r, point.clamp)
        if self.slots.objective.uses("ensemble"):
            assert self.turn.places is not None
            self.state.note(self.turn.places, logits)
        return logits

    def _attack(self) -> Tensor:
        """f(x'): x' was made before the step, is made here (VAT), or by the input slot's attack."""
        batch = self.turn.batch
        with masked(self.passes.network, base_mask(self.slots.dropout)):
            if batch.attacked is not None:
                return self.passes.logits(replace(batch, views=(batch.attacked,)))
            if isinstance(self.slots.input, Virtual):
                return self.passes.logits(batch, 0, self._virtual(self.slots.input))
            return self.passes.logits(batch, 0, self.point.attack)

    def _view(self) -> Tensor:
        noise = Noise(self.seed, self.turn.step, self.turn.batch.index, VIEW)
        with self.passes.noise(noise):
            return self._seen(2)

    def _ensemble(self) -> Tensor:
        assert self.turn.places is not None
        return self.state.ensemble_logits(self.turn.places, self("natural"), self.slots.objective.momentum)

    def _virtual(self, slot: Virtual) -> Tensor:
        """r_vadv; the passes that find it move no statistics."""
        batch, passes = self.turn.batch, self.passes
        p_BC = self("natural").detach()
        if passes.half is not None:  # a step of xi is far below its resolution
            with passes.full(), passes.frozen(), torch.no_grad():
                p_BC = passes.logits(batch)

        def gradient(r: Tensor) -> Tensor:
            r = r.detach().requires_grad_()
            with passes.full(), passes.frozen():
                q_BC = passes.logits(batch, 0, r)
            return torch.autograd.grad(divergence("kl", p_BC, q_BC).sum(), r)[0]

        shape = input_shape(self.passes.network, batch)
        like = batch.views[0] if batch.lengths is None else torch.zeros(shape, device=batch.index.device)
        draw = Draw(self.seed, self.turn.step, batch.index)
        return virtual(slot, like, gradient, draw, content(batch))

    def _dropout(self) -> Tensor:
        """f under the adversarial mask."""
        slot, network = self.slots.dropout, self.passes.network
        assert slot is not None
        self("natural")  # records the shape of the site and its random mask
        site = sites(network)[slot.site]
        base = torch.ones(site.shape, device=self.turn.batch.index.device)
        if slot.base == "bernoulli" and site.drawn is not None:
            base = site.drawn.float()
        ones = torch.ones_like(base)
        # What dropout divides by: at e_s both branches agree.
        kept = 1.0 if slot.base == "ones" else 1 - site.p
        at, scale = (base, kept) if slot.jacobian_at == "base" else (ones, 1.0)
        mask = adversarial_mask(base, self._jacobian(slot, at, scale), slot.flips(math.prod(site.shape[1:])))
        with masked(network, {slot.site: rescaled(mask) if slot.rescale else mask / kept}):
            return self._seen(slot.views)

    def _jacobian(self, slot: AdversarialDropout, at: Tensor, kept: float) -> Tensor:
        """J = grad_e D at e = ``at``; the pass moves no statistics.

        A scale that depends on e is held at its value: it decides how far a flip goes, not which flips.
        """
        e = at.detach().clone().requires_grad_()
        scaled = e * unit_scale(at) if slot.rescale else e / kept
        with masked(self.passes.network, {slot.site: scaled}), self.passes.frozen():
            q_BC = self._seen(slot.views)
        if slot.target == "labels":
            labels = self.turn.aims.labels
            lost_B = supervised(q_BC[: len(labels)], labels)
        else:
            p_BC = self("natural").detach()
            pair = (q_BC, p_BC) if slot.reverse else (p_BC, q_BC)
            lost_B = divergence(slot.divergence, *pair)
        return torch.autograd.grad(self.passes.summed(lost_B), e)[0]

    def _seen(self, views: int) -> Tensor:
        """Logits_BC of the first or second copy of the examples, where an ascent has moved them to."""
        return self.passes.logits(self.turn.batch, views - 1, self.point.r, self.point.clamp)


def base_mask(slot: AdversarialDropout | None) -> dict[str, Tensor]:
    """All units on, where the base mask is all ones; else the site draws as usual.

    Branches that are compared with the natural one need its mask, or they differ by the mask alone.
    """
    return {slot.site: torch.ones(())} if slot is not None and slot.base == "ones" else {}
