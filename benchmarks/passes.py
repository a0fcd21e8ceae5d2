"""The passes of a step: counted by kind while a method makes one, and each kind written out as a bare loop.

    F        forward without a graph          F+B      forward and backward to the parameters
    F+I      forward and backward to the input alone
    F+B+I    forward and backward to both     F+D      forward and backward down to the dropout site alone

A kind ending in ``eval`` is one in eval mode. The gradient of an objective of two forward passes counts as
two kinds. ``step`` is standard training written out: take the batch, clear the gradients, F + B, Adam's
update; what it costs beyond F + B is the rest of any method's step. It is not measured by itself: in a loop
of its own an update finds its tensors in the cache, and costs half of what it does behind a pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks.steps import Case, Subject
from engine.data.examples import Batch
from engine.models.dropout import Noise, recorded, sites
from engine.passes import Passes

STEP = "step"
EVAL = " eval"


@contextmanager
def counted(passes: Passes) -> Iterator[Counter[str]]:
    """The kinds of all passes that a network makes inside the block."""
    found: Counter[str] = Counter()
    alive: list[tuple[bool, str]] = []  # forward passes whose graph waits: to the input?, mode
    logits, grad, backward = passes.logits, torch.autograd.grad, Tensor.backward

    def seen(*args: Any, **kwargs: Any) -> Tensor:
        r = kwargs.get("r", args[2] if len(args) > 2 else None)
        mode = "" if passes.network.training else EVAL
        if torch.is_grad_enabled():
            alive.append((r is not None and r.requires_grad, mode))
        else:
            found["F" + mode] += 1
        return logits(*args, **kwargs)

    def close(part: str) -> None:
        to_input, mode = alive.pop()
        found["F" + part + ("+I" if to_input else "") + mode] += 1

    def asked(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(inputs, Tensor) or (len(inputs) == 1 and not isinstance(inputs[0], nn.Parameter)):
            close("" if alive[-1][0] else "+D")
        else:
            while alive:
                close("+B")
        return grad(outputs, inputs, *args, **kwargs)

    def learnt(loss: Tensor, *args: Any, **kwargs: Any) -> Any:
        while alive:
            close("+B")
        return backward(loss, *args, **kwargs)

    with (
        patch.object(passes, "logits", seen),
        patch.object(torch.autograd, "grad", asked),
        patch.object(Tensor, "backward", learnt),
    ):
        yield found
    assert not alive, "a forward pass kept its graph for nothing"


class Bare(Subject):
    """Loops without the engine's step; each asks torch for one kind of gradient.

    Batches are taken beforehand and alternate, as they do in training.
    """

    def __init__(self, case: Case, device: torch.device, training: bool = True):
        super().__init__(case, device)
        network = self.network.train(training)
        for module in network.modules():  # cuDNN's recurrent layers have no gradient in eval mode
            if isinstance(module, nn.RNNBase):
                module.training = True
        self.batches = [self.data.batch(places) for places in self.order]
        self.parameters = list(network.parameters())
        self.site = sites(network)["dropout"]
        self.r: Tensor | None = None
        if self.data.lengths is not None:
            network.get_submodule("embedding").register_forward_hook(self._shift)
        with torch.no_grad(), recorded(self.site):
            self._loss(0)
        self.ones = torch.ones(self.site.shape, device=device)

    def _shift(self, module: nn.Module, inputs: object, h: Tensor) -> Tensor | None:
        return None if self.r is None else h + self.r

    def _loss(self, number: int) -> Tensor:
        return self._loss_of(self.batches[number % len(self.batches)], number)

    def _loss_of(self, batch: Batch, number: int) -> Tensor:
        self.site.noise = Noise(0, number, batch.index)
        assert batch.labels is not None
        if batch.lengths is None:
            logits = self.network(batch.views[0] if self.r is None else self.r)
        else:
            logits = self.network(batch.views[0], batch.lengths)
        return nn.functional.cross_entropy(logits, batch.labels, reduction="sum")

    def _on_input(self, number: int, others: list[nn.Parameter]) -> None:
        batch = self.batches[number % len(self.batches)]
        x = batch.views[0]
        if batch.lengths is None:
            self.r = x.detach().requires_grad_()
        else:
            width = self.network.get_parameter("embedding.weight").shape[1]
            self.r = torch.zeros(*x.shape, width, device=self.device, requires_grad=True)
        torch.autograd.grad(self._loss(number), [self.r, *others])
        self.r = None

    def forward(self, number: int) -> None:
        """F."""
        with torch.no_grad():
            self._loss(number)

    def full(self, number: int) -> None:
        """F+B."""
        torch.autograd.grad(self._loss(number), self.parameters)

    def to_input(self, number: int) -> None:
        """F+I."""
        self._on_input(number, [])

    def to_both(self, number: int) -> None:
        """F+B+I."""
        self._on_input(number, self.parameters)

    def to_site(self, number: int) -> None:
        """F+D."""
        self.site.mask = self.ones.detach().requires_grad_()
        torch.autograd.grad(self._loss(number), self.site.mask)
        self.site.mask = None

    def step(self, number: int) -> None:
        """Standard training."""
        batch = self.data.batch(self.order[number % len(self.order)])
        self.optimizer.zero_grad(set_to_none=True)
        (self._loss_of(batch, number) / len(batch)).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


def bare_loops(case: Case, device: torch.device) -> dict[str, Callable[[int], None]]:
    """A loop for each kind of pass, and for a standard step."""
    train, fixed = Bare(case, device), Bare(case, device, training=False)
    loops = {STEP: train.step}
    for bare, mode in ((train, ""), (fixed, EVAL)):
        kinds = {
            "F": bare.forward, "F+B": bare.full, "F+I": bare.to_input, "F+B+I": bare.to_both,
            "F+D": bare.to_site,
        }  # fmt: skip
        loops |= {kind + mode: loop for kind, loop in kinds.items()}
    return loops
