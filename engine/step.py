"""One optimisation step's gradients: a clean pass, then each slot's ascent passes.

    .grad  <-  c grad L(theta, x)  +  sum over slots  sum_t  w_t grad L(. + M * r^{t-1})

with one graph alive at a time and 1 + K forward and backward passes for each slot in use. Passes that
the update does not learn from take gradients of their targets alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.data.examples import Batch
from engine.distributed import Workers, unsynchronised
from engine.models.base import INPUT
from engine.perturb import chain
from engine.perturb.random import bernoulli
from engine.perturb.targets import captured, input_shape, logits_of, lookup_table, perturbed
from engine.slots.ascent import Ascent, InputAscent
from engine.slots.slots import Slots


@dataclass(frozen=True)
class Clean:
    """What the clean pass leaves: detached sums over this worker's examples, and its gradients.

    Attributes:
        loss: summed loss, (). correct: number of examples classified right, ().
        gradients: of the mean loss over the global batch, by target.
    """

    loss: Tensor
    correct: Tensor
    gradients: dict[str, Tensor]


class Stepper:
    """Carries the slots of one trial out.

    Args:
        network: the bare network. forward: what is called, the network or its distributed wrapper.
        slots: the method in canonical form. seed: the trial's seed. workers: who share the batch.
    """

    def __init__(self, network: nn.Module, forward: nn.Module, slots: Slots, seed: int, workers: Workers):
        self.network, self.forward, self.slots = network, forward, slots
        self.seed, self.workers = seed, workers
        used = [slot for slot in (slots.input, slots.weight) if slot is not None]
        self.targets = tuple(name for slot in used for name in slot.targets)
        self.parameters = tuple(name for name in self.targets if name != INPUT)
        self.last = used[-1] if used else None  # its last pass synchronises the workers
        device = workers.device
        # Radii and probabilities are tensors, so that a leading trial axis can carry many of them.
        self.radius = {id(s): torch.tensor(s.epsilon, device=device) for s in used}
        self.probability = {id(s): torch.tensor(s.p, device=device) for s in used}
        self.rows = {
            n: torch.arange(network.get_parameter(n).shape[:1].numel(), device=device)
            for n in self.parameters
        }

        # On a CPU the embedding matrix is attacked in the rows that the global batch looks up: elsewhere its
        # gradient is zero, and 100,000 rows cost more than the rest of the step. A GPU would have to wait.
        table = lookup_table(network) if device.type == "cpu" else None
        self.table = table if table in self.parameters else None
        self.looked_up: dict[str, Tensor] = {}

    def gradients(self, batch: Batch, step: int, global_size: int, share: float = 1.0) -> Clean:
        """Add the step's gradient to ``.grad`` of all parameters.

        Args:
            batch: this worker's examples. step: number of the optimisation step, for the masks.
            global_size: examples in the global batch.
            share: 1, or 0 for a worker that has no example of a small last batch and lends one.
        """
        scale = share * self.workers.size / global_size
        if self.table is not None:
            self.looked_up = {self.table: self._looked_up(batch, len(self.rows[self.table]))}
        clean = self._clean(batch, scale)
        for slot in (self.slots.input, self.slots.weight):
            if slot is not None:
                masks = self._masks(slot, batch, step)
                self._ascend(slot, batch, scale, masks, clean.gradients)
        return clean

    def _clean(self, batch: Batch, scale: float) -> Clean:
        """The pass at theta and x."""
        weight = self.slots.clean
        r = self._zero(batch) if INPUT in self.targets else None
        logits_BC, loss, g = self._pass(batch, scale, weight, self.targets, r, sync=self.last is None)
        assert batch.labels is not None
        correct = (logits_BC.detach().argmax(1) == batch.labels).sum()
        return Clean(loss.detach(), correct, g)

    def _ascend(
        self, slot: Ascent, batch: Batch, scale: float, masks: Mapping[str, Tensor], g0: Mapping[str, Tensor]
    ) -> None:
        """K passes at the perturbed point, each with the perturbation that the last one led to."""
        g = {name: g0[name] for name in slot.targets}
        r = self._step(slot, {}, g)
        rescale = 1 / self.probability[id(slot)] if slot.mask_scale == "inverse_p" else 1.0
        for t in range(1, slot.steps + 1):
            final = t == slot.steps
            weight = 1 / slot.steps if slot.learn_from == "all" else float(final)
            moved = chain.mask(r, masks, rescale)
            wanted = () if final else slot.targets
            sync = final and slot is self.last
            if isinstance(slot, InputAscent) and slot.targets == (INPUT,):
                found = self._pass(batch, scale, weight, wanted, moved[INPUT], slot.clamp, sync)[2]
            else:
                with perturbed(self.network, moved, self.looked_up):
                    found = self._pass(batch, scale, weight, wanted, sync=sync)[2]
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

    def _masks(self, slot: Ascent, batch: Batch, step: int) -> dict[str, Tensor]:
        """M, drawn once per step and target."""
        p = self.probability[id(slot)]
        masks = {}
        for name in slot.targets:
            if name == INPUT:
                rows, shape = batch.index, input_shape(self.network, batch)
            else:
                rows, shape = self.rows[name], tuple(self.network.get_parameter(name).shape)
                if name in self.looked_up:
                    rows = self.looked_up[name]
                    shape = (len(rows), *shape[1:])
            masks[name] = bernoulli(self.seed, step, name, rows, shape, p)
        return masks

    def _looked_up(self, batch: Batch, size: int) -> Tensor:
        """Rows of the embedding matrix that some worker's part of the global batch holds, ascending."""
        used_V = torch.zeros(size, dtype=torch.int32)
        used_V[batch.views[0].flatten()] = 1
        return self.workers.total(used_V).nonzero()[:, 0]

    def _cut(self, name: str, g: Tensor) -> Tensor:
        """The part of a gradient that defines a perturbation, averaged over the workers."""
        return self.workers.mean(g[self.looked_up[name]] if name in self.looked_up else g)

    def _zero(self, batch: Batch) -> Tensor:
        return torch.zeros(input_shape(self.network, batch), device=self.workers.device)

    def _pass(
        self,
        batch: Batch,
        scale: float,
        weight: float,
        wanted: tuple[str, ...],
        r: Tensor | None = None,
        clamp: tuple[float, float] | None = None,
        sync: bool = False,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """One forward and backward pass; returns logits, summed loss and the gradients of ``wanted``.

        Args:
            weight: of this pass in the update; 0 takes the gradients of ``wanted`` alone.
            r: perturbation of the input tensor. sync: average ``.grad`` over the workers.
        """
        learn = weight > 0 or sync
        with nullcontext() if sync or not learn else unsynchronised(self.forward):
            if r is not None:
                r = r.detach().requires_grad_(INPUT in wanted)
            forward = self.forward if learn else self.network
            logits_BC = logits_of(forward, self.network, batch, r, clamp)
            assert batch.labels is not None
            loss = nn.functional.cross_entropy(logits_BC, batch.labels, reduction="sum")
            names = tuple(n for n in wanted if n != INPUT)
            if learn:
                with captured(self.network, names) as found:
                    (loss * (scale * weight)).backward()  # type: ignore[no-untyped-call]
                g = {n: self._cut(n, found[n]) / weight for n in names}
                if INPUT in wanted and r is not None and r.grad is not None:
                    g[INPUT] = r.grad / (weight * self.workers.size)
            else:
                g = self._probe(loss * scale, names, r if INPUT in wanted else None)
        return logits_BC, loss, g

    def _probe(self, loss: Tensor, names: tuple[str, ...], r: Tensor | None) -> dict[str, Tensor]:
        """Gradients of the targets alone, leaving ``.grad`` as it is."""
        leaves = {n: self.network.get_parameter(n) for n in names}
        if r is not None:
            leaves[INPUT] = r  # type: ignore[assignment]
        grads = torch.autograd.grad(loss, list(leaves.values()))
        g = dict(zip(leaves, grads, strict=True))
        for n in names:
            g[n] = self._cut(n, g[n])
        if r is not None:
            g[INPUT] = g[INPUT] / self.workers.size
        return g
