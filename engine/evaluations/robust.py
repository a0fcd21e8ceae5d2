"""A trained network under attack: the runner behind every evaluation by attack, and behind validation.

Only the input is differentiated: ``.grad`` of the parameters stays as it is. Random numbers are functions of
(seed, restart, example), so that neither batches nor workers change the result but for rounding.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from engine.data.examples import Batch, Examples
from engine.distributed import Workers
from engine.evaluate import Evaluation, share_out
from engine.evaluations.attacks import Ascended, AttackConfig
from engine.perturb.inputs import Draw
from engine.perturb.modes import attackable
from engine.perturb.targets import input_shape, logits_of
from engine.slots.attack import PIXELS, Range


class Point:
    """What an attack may ask about one batch.

    Attributes:
        network: in eval mode. batch: the examples. clamp: range of the input; None for none.
        ascended: what the attack raises.
        x: what r is added to: pixels x_BCHW; for a text zeros in the shape of its embedding h_BTD.
        inside: where a text is no padding, bool (B, T, 1); None for images.
    """

    def __init__(self, network: nn.Module, batch: Batch, ascended: Ascended, clamp: Range | None) -> None:
        self.network, self.batch, self.ascended, self.clamp = network, batch, ascended, clamp
        self.x, self.inside = batch.views[0], None
        if batch.lengths is not None:
            self.x = torch.zeros(input_shape(network, batch), device=batch.index.device)
            place_T = torch.arange(self.x.shape[1], device=self.x.device)
            self.inside = (place_T < batch.lengths.to(self.x.device)[:, None])[..., None]

    @property
    def labels(self) -> Tensor:
        """y_B."""
        assert self.batch.labels is not None
        return self.batch.labels

    def draw(self, seed: int, restart: int) -> Draw:
        """Where this batch's random numbers come from."""
        return Draw(seed, restart, self.batch.index)

    def logits(self, r: Tensor | None = None, clamp: Range | None = None) -> Tensor:
        """logits_BC at x + r."""
        return logits_of(self.network, self.network, self.batch, r, clamp)

    def images(self, x_BCHW: Tensor) -> Tensor:
        """logits_BC of other images in place of the batch's own."""
        return logits_of(self.network, self.network, replace(self.batch, views=(x_BCHW,)))

    def losses(self, r: Tensor | None = None) -> Tensor:
        """What is raised, for each example, at x + r."""
        return losses(self.logits(r), self.labels, self.ascended)

    def gradient(self, r: Tensor) -> Tensor:
        """Gradient of each example's loss by its r."""
        with torch.enable_grad():
            r = r.detach().requires_grad_()
            return torch.autograd.grad(self.losses(r).sum(), r)[0]


def losses(logits_BC: Tensor, y_B: Tensor, kind: Ascended) -> Tensor:
    """Cross-entropy, or margin max_{k != y} z_k - z_y, of each example.

    The margin is the attack loss of Carlini and Wagner (2017) without its lower bound (kappa infinite).

    >>> losses(torch.tensor([[1.0, 3.0, 2.5]]), torch.tensor([1]), "margin")
    tensor([-0.5000])
    """
    if kind == "ce":
        return nn.functional.cross_entropy(logits_BC, y_B, reduction="none")
    own_B = logits_BC.gather(1, y_B[:, None])[:, 0]
    return logits_BC.scatter(1, y_B[:, None], -torch.inf).amax(1) - own_B


def attacked(
    network: nn.Module,
    examples: Examples,
    workers: Workers,
    config: AttackConfig,
    clamp: Range | None = PIXELS,
) -> Evaluation:
    """Loss and accuracy under attack, the split shared out over the workers.

    Args:
        network: the bare network, in any mode; left exactly as it is.
        config: an evaluation by attack; its split and checkpoint are not looked at.
        clamp: range of images; not looked at for texts.

    Raises:
        InputError: the attack needs a package that is not there.
    """
    return compared(network, examples, workers, config, clamp)[1]


def compared(
    network: nn.Module, examples: Examples, workers: Workers, config: AttackConfig, clamp: Range | None
) -> tuple[Evaluation, Evaluation]:
    """Without and with the attack; arguments as of :func:`attacked`."""
    if examples.lengths is not None:
        clamp = None

    def measure(batch: Batch) -> tuple[Tensor, Tensor]:
        if not len(batch):  # a worker's share can be empty
            return batch.index.new_zeros(2), batch.index.new_zeros(2, 0)
        return _worst(Point(network, batch, config.ascended, clamp), config)

    with attackable(network, "eval"), torch.no_grad():
        clean, robust = share_out(examples, workers, measure, 2, config.examples, config.dealt)
    return clean, robust


def _worst(point: Point, config: AttackConfig) -> tuple[Tensor, Tensor]:
    """Summed loss and correctness_B at x and at the worst of the points that the attack tried."""
    loss_B, right_B = _at(point, None)
    clean_loss, clean_right_B = loss_B.sum(), right_B
    for r in config.tries(point) if config.epsilon else ():
        tried_B, still_B = _at(point, r)
        worse_B = (right_B & ~still_B) | ((right_B == still_B) & (tried_B > loss_B))
        loss_B = torch.where(worse_B, tried_B, loss_B)
        right_B = right_B & still_B
    return torch.stack([clean_loss, loss_B.sum()]), torch.stack([clean_right_B, right_B])


def _at(point: Point, r: Tensor | None) -> tuple[Tensor, Tensor]:
    logits_BC = point.logits(r, point.clamp)
    return losses(logits_BC, point.labels, "ce").double(), logits_BC.argmax(1) == point.labels
