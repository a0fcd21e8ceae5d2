"""Loss and accuracy of a network at the weights that it has, clean or attacked; the loss's gradient."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from engine.data.examples import Batch, Examples
from engine.distributed import Workers
from engine.evaluate import BATCH, evaluate
from engine.perturb.inputs import Draw, ascend
from engine.perturb.modes import attackable
from engine.perturb.targets import content, input_shape, logits_of
from engine.slots.attack import Attack


def first(whole: Examples, n: int | None) -> Examples:
    """The first n examples of a split; all where it has no more."""
    return whole if n is None or n >= len(whole) else whole.part(np.arange(n))


def measure(
    network: nn.Module, examples: Examples, attack: Attack | None, seed: int, workers: Workers
) -> tuple[float, float]:
    """Mean cross-entropy and accuracy; with an attack, of adversarial examples made at these weights.

        rho(w) = 1/n sum_i max_{||r_i|| <= epsilon} l(f_w(x_i + r_i), y_i)

    The start of the attack is a function of (seed, example), so that two points of a landscape differ by
    their weights alone.

    Source: AWP, Eq. 5 and Algorithm 1, lines 9-15.
    """
    if attack is None:
        found = evaluate(network, examples, workers)
        return found.loss, found.accuracy
    sums = torch.zeros(2, dtype=torch.float64, device=workers.device)
    for chosen_B in batches(examples, workers):
        batch = examples.batch(chosen_B)
        assert batch.labels is not None
        r = adversarial(network, batch, attack, seed)
        with attackable(network, "eval"), torch.no_grad():
            logits_BC = logits_of(network, network, batch, r)
            loss = nn.functional.cross_entropy(logits_BC, batch.labels, reduction="sum")
            right = (logits_BC.argmax(1) == batch.labels).sum()
            sums += torch.stack([loss.double(), right.double()])
    loss_sum, right_sum = workers.total(sums).tolist()
    return loss_sum / len(examples), right_sum / len(examples)


def adversarial(network: nn.Module, batch: Batch, attack: Attack, seed: int) -> Tensor:
    """r of each example, by the attack in eval mode at the weights that the network has."""
    x = batch.views[0]
    if batch.lengths is not None:  # an attack without a range asks the shape of the embedded text alone
        x = torch.zeros(input_shape(network, batch), device=x.device)
    against = batch.labels
    if attack.against == "prediction":
        with attackable(network, "eval"), torch.no_grad():
            against = logits_of(network, network, batch).softmax(1)
    assert against is not None

    def gradient(r: Tensor) -> Tensor:
        with torch.enable_grad():
            r = r.detach().requires_grad_()
            logits_BC = logits_of(network, network, batch, r)
            # With soft targets this is the divergence from them up to a constant.
            loss = nn.functional.cross_entropy(logits_BC, against, reduction="sum")
            return torch.autograd.grad(loss, r)[0]

    with attackable(network, "eval"):
        return ascend(attack, x, gradient, Draw(seed, 0, batch.index), content(batch)).detach()


def gradients(
    network: nn.Module,
    names: tuple[str, ...],
    examples: Examples,
    attack: Attack | None,
    seed: int,
    workers: Workers,
) -> dict[str, Tensor]:
    """Gradient of the mean loss with respect to some parameters, summed over batches and workers.

    ``.grad`` is left as it is.
    """
    leaves = [network.get_parameter(name) for name in names]
    sums = [torch.zeros_like(w) for w in leaves]
    for chosen_B in batches(examples, workers):
        batch = examples.batch(chosen_B)
        assert batch.labels is not None
        r = None if attack is None else adversarial(network, batch, attack, seed)
        with attackable(network, "eval"), torch.enable_grad():
            logits_BC = logits_of(network, network, batch, r)
            loss = nn.functional.cross_entropy(logits_BC, batch.labels, reduction="sum")
            parts = torch.autograd.grad(loss / len(examples), leaves)
        sums = [s + g for s, g in zip(sums, parts, strict=True)]
    return {name: workers.total(g) for name, g in zip(names, sums, strict=True)}


def batches(examples: Examples, workers: Workers) -> tuple[Tensor, ...]:
    """Places of this worker's share, in batches; texts by length, so that a batch holds little padding."""
    lengths_N = examples.lengths
    if lengths_N is None:
        order_N = torch.arange(len(examples), device=workers.device)
    else:
        order_N = lengths_N.argsort(stable=True)
    mine_M = workers.share(order_N)
    return torch.split(mine_M, BATCH) if len(mine_M) else ()
