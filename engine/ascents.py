"""Ascents carried out: K masked steps of a group of targets, each pass learnt from (DropAttack, FreeLB)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from engine.data.examples import Batch
from engine.distributed import Workers
from engine.gradients import Gradients
from engine.models.base import INPUT
from engine.perturb import chain
from engine.perturb.inputs import Draw, spread
from engine.perturb.random import bernoulli
from engine.perturb.targets import content, input_shape, lookup_table, perturbed
from engine.slots.ascent import Ascent, InputAscent
from engine.turn import Point, Turn


class Ascents:
    """The ascents of a method. Args: as :class:`engine.step.Stepper`."""

    def __init__(
        self, network: nn.Module, slots: tuple[Ascent, ...], seed: int, workers: Workers, gradients: Gradients
    ):
        self.network, self.slots, self.seed, self.workers = network, slots, seed, workers
        self.gradients = gradients
        self.targets = tuple(name for slot in slots for name in slot.targets)
        parameters = tuple(name for name in self.targets if name != INPUT)
        self.last = slots[-1] if slots else None  # its last pass synchronises the workers
        device = workers.device
        # Radii and probabilities are tensors, so that a leading trial axis can carry many of them.
        self.radius = {id(s): torch.tensor(s.epsilon, device=device) for s in slots}
        self.probability = {id(s): torch.tensor(s.p, device=device) for s in slots}
        self.rows = {
            n: torch.arange(network.get_parameter(n).shape[:1].numel(), device=device) for n in parameters
        }

        # On a CPU the embedding matrix is attacked in the rows that the global batch looks up: elsewhere its
        # gradient is zero, and 100,000 rows cost more than the rest of the step. A GPU would have to wait.
        table = lookup_table(network) if device.type == "cpu" else None
        self.table = table if table in parameters else None

    def prepare(self, batch: Batch) -> None:
        """Find the rows of the embedding matrix that the global batch looks up."""
        if self.table is not None:
            used_V = torch.zeros(len(self.rows[self.table]), dtype=torch.int32)
            used_V[batch.views[0].flatten()] = 1
            self.gradients.looked_up = {self.table: self.workers.total(used_V).nonzero()[:, 0]}

    def start(self, turn: Turn, point: Point) -> Point:
        """The point of the first pass: x itself, or a random one near it."""
        if INPUT not in self.targets:
            return point
        shape = input_shape(self.network, turn.batch)
        slot = next(s for s in self.slots if isinstance(s, InputAscent))
        if not slot.start:
            zero = torch.zeros(shape, device=self.workers.device)
            return Point(zero, None, point.attack)
        draw = Draw(self.seed, turn.step, turn.batch.index)
        r = spread(draw, shape, slot.start, content(turn.batch))
        chosen = self._chosen(turn)
        return Point(r if chosen is None else r * chosen, slot.clamp, point.attack)

    def first_weight(self, clean: float) -> float:
        """Weight of the first pass in the update: ``clean``, or 1/(1 + K) where every pass is learnt from."""
        every = next((s for s in self.slots if s.learn_from == "every"), None)
        return clean if every is None else clean / (1 + every.steps)

    def climb(self, slot: Ascent, turn: Turn, point: Point, g0: Mapping[str, Tensor]) -> None:
        """K passes at the perturbed point, each with the perturbation that the last one led to."""
        masks = self._masks(slot, turn)
        g: Mapping[str, Tensor] = {name: g0[name] for name in slot.targets}
        on_input = isinstance(slot, InputAscent) and slot.targets == (INPUT,)
        begun = {INPUT: point.r} if on_input and slot.start and point.r is not None else {}  # type: ignore[attr-defined]
        r = self._step(slot, begun, g)
        rescale = 1 / self.probability[id(slot)] if slot.mask_scale == "inverse_p" else 1.0
        for t in range(1, slot.steps + 1):
            final = t == slot.steps
            weight = _weight(slot, final)
            moved = chain.mask(r, masks, rescale)
            wanted = () if final else slot.targets
            sync = final and slot is self.last
            live = slot.statistics == "live"
            at = Point(None, None, point.attack)
            if on_input:
                at = Point(moved[INPUT], slot.clamp, point.attack)  # type: ignore[attr-defined]
                found = self.gradients.at(turn, at, weight, wanted, sync, live).gradients
            else:
                with perturbed(self.network, moved, self.gradients.looked_up):
                    found = self.gradients.at(turn, at, weight, wanted, sync, live).gradients
            if not final:
                g = chain.add(g, found, 1 / slot.steps) if slot.gradient == "accumulated" else found
                r = self._step(slot, r, g)

    def _step(self, slot: Ascent, r: Mapping[str, Tensor], g: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """r^t from r^{t-1} and g^t."""
        total = self._total(slot)
        radius = self.radius[id(slot)]
        direction = chain.normalise(g, slot.norm_over, total)
        if slot.update == "replace":
            return chain.add({}, direction, radius)
        if slot.update == "accumulate":
            return chain.add(r, direction, radius)
        assert slot.step_size is not None
        return chain.project(chain.add(r, direction, slot.step_size), radius, slot.norm_over, total)

    def _total(self, slot: Ascent) -> chain.Total:
        """Input tensors are spread over the workers; weights and their gradients are whole on each."""
        return self.workers.total if slot.targets == (INPUT,) else chain.same

    def _masks(self, slot: Ascent, turn: Turn) -> dict[str, Tensor]:
        """M, drawn once per step and target; zero for examples that are not attacked."""
        p, looked_up = self.probability[id(slot)], self.gradients.looked_up
        masks = {}
        for name in slot.targets:
            if name == INPUT:
                rows, shape = turn.batch.index, input_shape(self.network, turn.batch)
            else:
                rows, shape = self.rows[name], tuple(self.network.get_parameter(name).shape)
                if name in looked_up:
                    rows = looked_up[name]
                    shape = (len(rows), *shape[1:])
            masks[name] = bernoulli(self.seed, turn.step, name, rows, shape, p)
        chosen = self._chosen(turn)
        if INPUT in masks and chosen is not None:
            masks[INPUT] &= chosen
        return masks

    def _chosen(self, turn: Turn) -> Tensor | None:
        """Which examples are attacked, bool (B, 1, ...); None for all."""
        if turn.batch.chosen is None:
            return None
        chosen_B = torch.zeros(len(turn.batch), dtype=torch.bool, device=self.workers.device)
        chosen_B[turn.batch.chosen.to(chosen_B.device, non_blocking=True)] = True
        return chosen_B.view(-1, *[1] * (len(input_shape(self.network, turn.batch)) - 1))


def _weight(slot: Ascent, final: bool) -> float:
    """Weight of one of the K passes in the update."""
    if slot.learn_from == "last":
        return float(final)
    return 1 / (slot.steps + (slot.learn_from == "every"))
