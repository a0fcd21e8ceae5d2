"""Adaptive adversarial training's draw: which examples are attacked in an epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.adversaries import attack
from engine.data.examples import Batch, Examples
from engine.gradients import Gradients
from engine.models.dropout import Noise
from engine.objective import Aims, supervised
from engine.perturb.modes import attackable
from engine.perturb.random import derive
from engine.perturb.targets import input_shape
from engine.slots.attack import Attack
from engine.slots.selection import Selection
from engine.slots.slots import Slots
from engine.turn import Turn

BATCH = 512
"""Examples in one pass of all workers; in eval mode nothing depends on it but for rounding."""


def begin_epoch(gradients: Gradients, examples: Examples, slots: Slots, epoch: int) -> None:
    """Draw this epoch's examples into the method's state, with their perturbations where they are frozen."""
    selection, state = slots.selection, gradients.state
    if selection is None:
        return
    norms_N = scores(gradients, examples, selection, epoch).numpy()
    picked = pick(norms_N, selection, derive(gradients.seed, "pick", epoch) % 2**32)
    state.picked = torch.full((len(examples),), -1, dtype=torch.int64)
    state.picked[torch.from_numpy(picked)] = torch.arange(len(picked))
    if selection.perturbations == "frozen" and isinstance(slots.input, Attack):
        state.frozen = _perturbations(gradients, examples, slots.input, torch.from_numpy(picked), epoch)


def scores(gradients: Gradients, examples: Examples, selection: Selection, epoch: int = 0) -> Tensor:
    """||grad_{x_i} L_i||^power of every training example, float64 (N,), on the CPU.

    One forward and one input-backward pass a batch: row i of the gradient of the summed losses is the
    gradient of loss i (exactly so where examples do not meet in BatchNorm, as in eval mode).

    Source: Adaptive Adversarial Training, Algorithm 1, line 3.
    """
    workers = gradients.workers
    found_N = torch.zeros(len(examples), dtype=torch.float64, device=workers.device)
    with attackable(gradients.network, selection.mode), gradients.passes.frozen():
        for places_B in _shares(torch.arange(len(examples)), gradients):
            batch = _batch(examples, places_B)
            with gradients.passes.noise(Noise(gradients.seed, epoch, batch.index)):
                norms_B = _norms(gradients, batch)
            found_N[places_B.to(workers.device)] = norms_B.double() ** selection.power
    return workers.total(found_N).cpu()


def pick(scores_N: NDArray[np.float64], selection: Selection, seed: int) -> NDArray[np.int64]:
    """Places of the examples drawn with p_i = score_i / sum_j score_j, ascending, each once.

    Scores that are not finite count as zero; where fewer than n are above zero, those are taken; where none
    is, all are equally likely.
    """
    weights = np.where(np.isfinite(scores_N), scores_N, 0.0)
    if not weights.any():
        weights = np.ones_like(weights)
    # RandomState: its stream is frozen, see engine.data.subset.
    generator = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    size = selection.n if selection.replacement else min(selection.n, int((weights > 0).sum()))
    drawn = generator.choice(
        len(weights), size=size, replace=selection.replacement, p=weights / weights.sum()
    )
    return np.unique(drawn).astype(np.int64)


def _norms(gradients: Gradients, batch: Batch) -> Tensor:
    """||grad_{x_i} L_i||_2 for each example of a batch."""
    assert batch.labels is not None
    shape = input_shape(gradients.network, batch)
    r = torch.zeros(shape, device=gradients.workers.device, requires_grad=True)
    half = gradients.passes.scaler.is_enabled()
    logits_BC = gradients.passes.logits(batch, 0, r)
    # One factor for all examples: the norms are looked at relative to their sum.
    lost = supervised(logits_BC, batch.labels).sum()
    g = torch.autograd.grad(gradients.passes.scaled(lost / BATCH) if half else lost, r)[0]
    norms_B: Tensor = torch.linalg.vector_norm(g.float().flatten(1), dim=1)
    return norms_B


def _perturbations(
    gradients: Gradients, examples: Examples, slot: Attack, picked: Tensor, epoch: int
) -> Tensor:
    """r of the drawn examples at the present weights, each worker making its share."""
    workers = gradients.workers
    shape = input_shape(gradients.network, _batch(examples, picked[:1]))
    frozen = torch.zeros(len(picked), *shape[1:], device=workers.device)
    for rows in _shares(torch.arange(len(picked)), gradients):
        batch = _batch(examples, picked[rows])
        assert batch.labels is not None
        aims = Aims(batch.labels, len(batch), len(batch))
        turn = Turn(batch, aims, epoch, 1.0)
        frozen[rows.to(workers.device)] = attack(slot, turn, gradients)
    return workers.total(frozen)


def _shares(places_N: Tensor, gradients: Gradients) -> Iterator[Tensor]:
    """This worker's part of each batch: as many parts on all workers, who may share a batch's statistics."""
    for places_B in torch.split(places_N, BATCH):
        mine_B = gradients.workers.share(places_B)
        if len(mine_B) or gradients.passes.norms:
            yield mine_B


def _batch(examples: Examples, places_B: Tensor) -> Batch:
    """Texts are taken by places on the CPU."""
    return examples.batch(places_B if examples.lengths is not None else places_B.to(examples.index.device))
