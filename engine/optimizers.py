"""Optimisers from their settings, and what else an update is made of: schedule, penalties, weight decay."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from engine.config import Trial
from engine.step import Stepper
from engine.update import SGD, Adam, AdamW, Constant, Ramps


def _plain(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """The same optimiser without the wrappers by which torch keeps its compiler out of one.

    They load the compiler, which takes a process 2 s; no optimiser is compiled here.
    """
    wrapped = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    bare = {name: inspect.unwrap(getattr(kind, name)) for name in wrapped}
    return type(kind.__name__, (kind,), bare | {"step": torch.no_grad()(inspect.unwrap(kind.step))})


_SGD, _Adam, _AdamW = (_plain(kind) for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW))


def build(
    settings: Adam | SGD, parameters: Iterable[nn.Parameter], device: torch.device
) -> torch.optim.Optimizer:
    """The optimiser that the settings name.

    The learning rate is a tensor, so that a leading trial axis can carry many. The fused kernels take
    one and are the fastest (Adam over ten 400 x 120 matrices on one CPU thread: 0.22 ms against 0.58).
    """
    lr = torch.tensor(settings.lr, device=device)
    parameters = list(parameters)
    if isinstance(settings, SGD):
        return _SGD(
            parameters, lr=lr, momentum=settings.momentum, nesterov=settings.nesterov,
            weight_decay=settings.weight_decay, fused=True,
        )  # fmt: skip
    kind = _AdamW if isinstance(settings, AdamW) else _Adam
    return kind(
        parameters, lr=lr, betas=settings.betas, eps=settings.eps,
        weight_decay=settings.weight_decay, fused=True,
    )  # fmt: skip


class Updates:
    """What happens between a step's gradients and its weights.

    Args:
        trial: optimiser, schedule and penalties. optimizer: as :func:`build` returns it.
        network: the bare network. stepper: whose gradients are applied.
    """

    def __init__(self, trial: Trial, optimizer: torch.optim.Optimizer, network: nn.Module, stepper: Stepper):
        self.trial, self.optimizer, self.network, self.stepper = trial, optimizer, network, stepper
        self.scaler = stepper.of.passes.scaler
        named = network.named_parameters()
        self.weights = {name: w for name, w in named if w.dim() > 1 and w.requires_grad}

    def begin(self, epoch: float) -> None:
        """Set the learning rate of ``epoch`` (with its fraction), and clear the gradients."""
        schedule, settings = self.trial.schedule, self.trial.optimizer
        if not isinstance(schedule, Constant):
            factor = schedule.factor(epoch, self.trial.epochs)
            for group in self.optimizer.param_groups:
                group["lr"].fill_(settings.lr * factor)
                if isinstance(schedule, Ramps) and isinstance(settings, Adam):
                    group["betas"] = schedule.betas(settings.betas, epoch, self.trial.epochs)
        self.optimizer.zero_grad(set_to_none=True)

    def take(self) -> None:
        """One update of the weights from ``.grad``."""
        decay, decoupled = self.trial.optimizer.weight_decay, isinstance(self.trial.optimizer, AdamW)
        shifted = self.stepper.shifted if decay else {}
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        self._penalise()
        if not decoupled:
            for name, v in shifted.items():  # the decay's gradient at theta + v is decay * (theta + v)
                w = self.network.get_parameter(name)
                if w.grad is not None:
                    w.grad.add_(v, alpha=decay)
        lr = self.optimizer.param_groups[0]["lr"] * decay
        if self.scaler.is_enabled():
            if decoupled and shifted:
                lr = torch.where(self._finite(), lr, 0.0)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        if decoupled:
            with torch.no_grad():
                for name, v in shifted.items():
                    self.network.get_parameter(name).sub_(lr * v)

    def _finite(self) -> Tensor:
        """Whether all gradients are, (): else the loss scale's optimiser takes no step."""
        grads = [w.grad.isfinite().all() for w in self.network.parameters() if w.grad is not None]
        return torch.stack(grads).all()

    def between(self) -> None:
        """An update with further passes over the same batch to come."""
        self.take()
        self.optimizer.zero_grad(set_to_none=True)

    def _penalise(self) -> None:
        """Add the gradients of the penalties."""
        settings = self.trial.regularise
        if not (settings.l1 or settings.l2):
            return
        for w in self.weights.values():
            if w.grad is not None:
                if settings.l1:
                    w.grad.add_(w.detach().sign(), alpha=settings.l1)
                if settings.l2:
                    w.grad.add_(w.detach(), alpha=settings.l2)
