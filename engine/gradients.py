"""The gradient of a method's objective at one point: learnt from, or asked for by a perturbation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine import objective
from engine.branches import Branches
from engine.distributed import Workers
from engine.models.base import INPUT
from engine.models.dropout import Noise
from engine.objective import Value
from engine.passes import Passes, Precision
from engine.slots.slots import Slots
from engine.state import State
from engine.turn import Point, Turn

Named = dict[str, Tensor]


@dataclass(frozen=True)
class Found:
    """What a pass found, detached.

    Attributes:
        loss: objective summed over this worker's labelled examples, (). logits: see :class:`Value`.
        gradients: of the mean over the global batch, by target; what defines a perturbation is the same
            on all workers, but for the input's, of which each has its examples' rows.
    """

    loss: Tensor
    logits: Tensor
    gradients: Named


class Gradients:
    """Evaluates the objective slot.

    Args: as :class:`engine.step.Stepper`.
    """

    def __init__(
        self,
        network: nn.Module,
        slots: Slots,
        seed: int,
        workers: Workers,
        precision: Precision,
        state: State,
    ):
        self.network, self.slots, self.seed, self.workers, self.state = network, slots, seed, workers, state
        self.passes = Passes(network, workers, precision)
        self.looked_up: Named = {}
        """Rows of the embedding matrix that the global batch holds, where only those are attacked."""

    def at(
        self,
        turn: Turn,
        point: Point,
        weight: float = 0.0,
        wanted: tuple[str, ...] = (),
        sync: bool = False,
        live: bool = True,
    ) -> Found:
        """One pass over the batch, in parts where the turn says so.

        Args:
            weight: of this pass in the update; 0 takes the gradients of ``wanted`` alone.
            wanted: the targets whose gradients define a perturbation. sync: average ``.grad`` over the
                workers. live: let BatchNorm's running statistics move.
        """
        parts = list(turn.parts())
        found = []
        for number, (rows, part) in enumerate(parts):
            last = sync and number == len(parts) - 1
            with self.passes.frozen(not live):
                found.append(self._part(part, point.part(rows), weight, wanted, last))
        # Exchanged once a pass: workers may have different numbers of parts.
        names = tuple(n for n in wanted if n != INPUT)
        summed = {n: sum((f.gradients[n] for f in found[1:]), found[0].gradients[n]) for n in names}
        gradients = {n: self.workers.mean(g) for n, g in summed.items()}
        if INPUT in wanted:
            gradients[INPUT] = torch.cat([f.gradients[INPUT] for f in found])
        if len(found) == 1:
            return Found(found[0].loss, found[0].logits, gradients)
        loss = torch.stack([f.loss for f in found]).sum()
        return Found(loss, torch.cat([f.logits for f in found]), gradients)

    def _part(self, turn: Turn, point: Point, weight: float, wanted: tuple[str, ...], sync: bool) -> Found:
        learn = weight > 0 or sync
        r = point.r
        if r is not None:
            r = r.detach().requires_grad_(INPUT in wanted)
            point = Point(r, point.clamp, point.attack)
        names = tuple(n for n in wanted if n != INPUT)

        def compute() -> Value:
            see = Branches(self.passes, self.slots, turn, point, self.state, self.seed)
            return objective.evaluate(self.slots.objective, see, turn.aims, turn.epoch)

        with self.passes.noise(Noise(self.seed, turn.step, turn.batch.index)):
            if learn:
                value, found = self.passes.learn(compute, turn.scale * weight, names, sync)
            else:
                value = compute()
                found = self.passes.probe(value.total * turn.scale, names, r if INPUT in wanted else None)
        if learn:
            g = {n: self._cut(n, found[n]) / weight for n in names}
            if INPUT in wanted and r is not None and r.grad is not None:
                g[INPUT] = r.grad / (weight * self.workers.size)
        else:
            g = {n: self._cut(n, found[n]) for n in names}
            if INPUT in found:
                g[INPUT] = found[INPUT] / self.workers.size
        return Found(value.total.detach(), value.logits.detach(), g)

    def _cut(self, name: str, g: Tensor) -> Tensor:
        """The part of a worker's gradient that defines a perturbation."""
        return g[self.looked_up[name]] if name in self.looked_up else g
