"""One optimisation step's gradients, from the slots of a method.

    .grad  <-  grad L(theta + v, x', e)                              attacks and relative weights, or
    .grad  <-  c grad L(theta, x)  +  sum over ascents  sum_t  w_t grad L(. + M * r^{t-1})

with one graph alive at a time. Passes that the update does not learn from take gradients of their targets
alone: an attack never computes a weight's gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine import adversaries
from engine.ascents import Ascents
from engine.data.examples import Batch
from engine.distributed import Workers
from engine.gradients import Found, Gradients
from engine.models.base import INPUT
from engine.objective import Aims
from engine.passes import Precision
from engine.perturb.inputs import Draw, direction, spread, within
from engine.perturb.targets import content, input_shape, perturbed
from engine.slots.attack import Attack, Replay
from engine.slots.slots import Slots
from engine.slots.weight import RandomRelative, Relative
from engine.state import State
from engine.turn import Point, Turn


@dataclass(frozen=True)
class Clean:
    """What the first pass leaves: detached sums over this worker's labelled examples, and its gradients.

    Attributes:
        loss: the objective, summed, (). correct: examples classified right, (); where the objective needs
            no natural prediction, attacked ones.
        gradients: of the mean loss over the global batch, by target.
    """

    loss: Tensor
    correct: Tensor
    gradients: dict[str, Tensor]


class Stepper:
    """Carries the slots of one trial out.

    Args:
        network: the bare network. slots: the method in canonical form. seed: the trial's seed.
        workers: who share the batch. precision: of the passes. state: what the method carries over.
    """

    def __init__(
        self,
        network: nn.Module,
        slots: Slots,
        seed: int,
        workers: Workers,
        precision: Precision = "float32",
        state: State | None = None,
    ):
        self.network, self.slots, self.seed, self.workers = network, slots, seed, workers
        self.state = state or State()
        self.of = Gradients(network, slots, seed, workers, precision, self.state)
        self.ascents = Ascents(network, slots.ascents, seed, workers, self.of)
        self.shifted: dict[str, Tensor] = {}
        """v, where the update's weight decay is to act at theta + v."""

    def gradients(
        self,
        batch: Batch,
        step: int,
        global_size: int,
        share: float = 1.0,
        *,
        examples: int | None = None,
        aims: Tensor | None = None,
        epoch: float = 0.0,
        places: Tensor | None = None,
        micro: int = 0,
        update: Callable[[], None] | None = None,
    ) -> Clean:
        """Add the step's gradient to ``.grad`` of all parameters.

        Args:
            batch: this worker's examples. step: number of the optimisation step, for the random draws.
            global_size: labelled examples in the global batch. examples: all of them; None: the same.
            share: 1, or 0 for a worker that has no example of a small last batch and lends one.
            aims: in place of the batch's labels: probabilities, or pixels to reconstruct.
            epoch: epochs trained so far, with the fraction of the one under way.
            places: place of each example among the training examples. micro: examples in one pass at
                most, 0 for all.
            update: one update of the weights from ``.grad``, for methods that take several in a step.
        """
        labels = batch.labels if aims is None else aims
        assert labels is not None
        extra = batch.extra if batch.pseudo else 0
        goal = Aims(labels, global_size, examples or global_size, extra, batch.pseudo)
        scale = share * self.workers.size / global_size
        turn = Turn(batch, goal, step, scale, epoch, places, micro)
        self.shifted, self.of.looked_up = {}, {}
        if isinstance(self.slots.input, Replay):
            return self._replay(self.slots.input, turn, update)
        v, point = self._worst_case(turn)
        if not v:
            return self._learn(turn, point)
        with perturbed(self.network, v):
            return self._learn(turn, point)

    def _worst_case(self, turn: Turn) -> tuple[dict[str, Tensor], Point]:
        """v, and the point with x'."""
        slot, weight, point = self.slots.input, self.slots.weight, Point()
        made = slot if isinstance(slot, Attack) and turn.batch.attacked is None else None
        v: dict[str, Tensor] = {}
        if isinstance(weight, Relative) and turn.epoch >= weight.warmup:
            v, point = adversaries.adversarial_weights(weight, turn, point, self.of, made)
        else:
            if made is not None:
                point = Point(attack=adversaries.attack(made, turn, self.of))
            if isinstance(weight, RandomRelative) and turn.epoch >= weight.warmup:
                v = adversaries.random_weights(weight, turn, self.of)
        if v and getattr(weight, "decay_at", "") == "perturbed":
            self.shifted = v
        return v, point

    def _learn(self, turn: Turn, point: Point) -> Clean:
        """The first pass, and those of the ascents."""
        ascents = self.ascents
        ascents.prepare(turn.batch)
        start = ascents.start(turn, point)
        weight = ascents.first_weight(self.slots.clean)
        first = self.of.at(turn, start, weight, ascents.targets, sync=ascents.last is None)
        for slot in ascents.slots:
            ascents.climb(slot, turn, start, first.gradients)
        return self._clean(turn, first)

    def _replay(self, slot: Replay, turn: Turn, update: Callable[[], None] | None) -> Clean:
        """m passes, each learnt from at once and each a step of the perturbation."""
        batch, device = turn.batch, self.workers.device
        shape = input_shape(self.network, batch)
        like = batch.views[0] if batch.lengths is None else torch.zeros(shape, device=device)
        r = self._begun(slot, turn, shape)
        for number in range(slot.replays):
            r = within(r, like, slot.norm, slot.epsilon, slot.clamp)
            found = self.of.at(turn, Point(r), 1.0, (INPUT,), sync=True)
            r = r + slot.alpha * direction(found.gradients[INPUT], slot.norm)
            if number < slot.replays - 1 and update is not None:
                update()
        if slot.carry:
            self._carry(within(r, like, slot.norm, slot.epsilon, slot.clamp), turn)
        return self._clean(turn, found)

    def _begun(self, slot: Replay, turn: Turn, shape: tuple[int, ...]) -> Tensor:
        """The perturbation that a batch starts with."""
        if not slot.carry:
            return spread(self._draw(turn), shape, slot.epsilon, content(turn.batch))
        like = turn.batch.views[0]
        if self.state.replay is None:
            self.state.replay = like.new_zeros(turn.aims.examples, *shape[1:])
        return self.state.replay[self._mine(turn)] if turn.scale else torch.zeros_like(like)

    def _carry(self, r: Tensor, turn: Turn) -> None:
        """Keep the perturbation by place in the global batch, on all workers."""
        assert self.state.replay is not None
        mine, count = self._mine(turn), turn.aims.examples
        held = torch.zeros_like(self.state.replay[:count])
        if turn.scale:
            held[mine] = r
        self.state.replay[:count] = self.workers.total(held)

    def _mine(self, turn: Turn) -> Tensor:
        """Places of this worker's examples in the global batch, the unlabelled ones behind the others."""
        place_B = torch.arange(turn.aims.examples, device=self.workers.device)
        parts = place_B.tensor_split([turn.aims.labelled])
        return torch.cat([self.workers.share(part) for part in parts])

    def _draw(self, turn: Turn) -> Draw:
        return Draw(self.seed, turn.step, turn.batch.index)

    def _clean(self, turn: Turn, found: Found) -> Clean:
        labels = turn.aims.labels
        count = len(labels) - turn.aims.extra
        correct = torch.zeros((), dtype=torch.int64, device=found.loss.device)
        if labels.dim() == 1 or labels.shape[1:] == found.logits.shape[1:]:
            hard = labels if labels.dim() == 1 else labels.argmax(1)
            correct = (found.logits[:count].argmax(1) == hard[:count]).sum()
        return Clean(found.loss, correct, found.gradients)
