"""The batches of a trial: which examples, how they are varied, and what they are to be answered with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from engine.config import Trial
from engine.data.augment import augment
from engine.data.augment_settings import Augment
from engine.data.examples import Batch
from engine.data.loading import Splits
from engine.data.mixup import mix, mixup_partners, mixup_weight
from engine.distributed import Workers
from engine.perturb.random import derive
from engine.state import State


@dataclass(frozen=True)
class Taken:
    """This worker's part of a global batch.

    Attributes:
        batch: its examples. aims: in place of their labels (mixed ones, pixels), or None.
        labelled, examples: numbers of the global batch. share: 0 where an example is only lent.
        places: place of each example among the training examples, unlabelled ones counted on from the
            labelled ones, on the device.
    """

    batch: Batch
    aims: Tensor | None
    labelled: int
    examples: int
    share: float
    places: Tensor


class Feed:
    """Batches as functions of (seed, epoch, step), the same for any number of workers.

    Args:
        trial: what is trained. data: its splits. workers: who share each batch.
        state: of the method; says which examples are attacked in this epoch.
        empty: give a worker without examples an empty batch, which moves no BatchNorm statistics, instead
            of lending it one.
    """

    def __init__(self, trial: Trial, data: Splits, workers: Workers, state: State, empty: bool):
        self.trial, self.data, self.workers, self.state, self.empty = trial, data, workers, state, empty
        self.unlabelled = data.unlabelled if trial.learns_unlabelled else None
        slots = trial.slots
        second = slots.objective.uses("view") or (slots.dropout is not None and slots.dropout.views == 2)
        self.views = 2 if second and trial.augment != Augment() else 1
        self.reconstructs = trial.model_info.task == "reconstruction"
        chosen = slots.selection
        self.frozen = chosen is not None and chosen.perturbations == "frozen"
        self.refreshed = chosen is not None and chosen.perturbations == "refreshed"

    @property
    def steps(self) -> int:
        """Optimisation steps of an epoch."""
        whole = -(-len(self.data.train) // self.trial.batch_size)
        return self.trial.steps_per_epoch or whole

    def epoch(self, epoch: int) -> Iterator[Tensor]:
        """Places of each global batch's labelled examples, int64, on the CPU."""
        seed, size, batch = self.trial.seed, len(self.data.train), self.trial.batch_size
        if self.trial.steps_per_epoch is None and self.unlabelled is None:
            yield from torch.split(permutation(seed, "order", epoch, size), batch)
            return
        for number in range(self.steps):
            first = (epoch * self.steps + number) * batch
            yield window(seed, "order", first, batch, size)

    def take(self, places_B: Tensor, step: int) -> Taken:
        """This worker's part of a global batch.

        Args:
            places_B: as :meth:`epoch` gives them. step: number of the optimisation step.
        """
        mine_B = self.workers.share(places_B)
        lent = len(mine_B) == 0  # a last batch smaller than the number of workers
        if lent:
            mine_B = places_B[: 0 if self.empty or self.unlabelled is not None else 1]
        batch = self.data.train.batch(self._moved(mine_B))
        batch, examples, more_B = self._with_unlabelled(batch, len(places_B), step)
        aims = batch.views[0].clone() if self.reconstructs else None
        batch = self._attacked(batch, mine_B)
        batch = self._varied(batch, step)
        if self.trial.mixup:
            batch, aims = self._mixed(batch, places_B, mine_B, step)
        places = torch.cat([mine_B, more_B]).to(self.workers.device, non_blocking=True)
        return Taken(batch, aims, len(places_B), examples, 0.0 if lent and len(mine_B) else 1.0, places)

    def _moved(self, places_B: Tensor) -> Tensor:
        """Images are taken by places on their device, texts on the CPU, which has to know the lengths."""
        if self.data.train.lengths is not None:
            return places_B
        return places_B.to(self.workers.device, non_blocking=True)

    def _with_unlabelled(self, batch: Batch, labelled: int, step: int) -> tuple[Batch, int, Tensor]:
        """The batch with unlabelled rows behind it, the size of the global batch, and the rows' places."""
        if self.unlabelled is None:
            return batch, labelled, torch.zeros(0, dtype=torch.int64)
        count = self.trial.unlabelled_batch or self.trial.batch_size
        places = window(self.trial.seed, "unlabelled", step * count, count, len(self.unlabelled))
        mine = self.workers.share(places)
        more = self.unlabelled.batch(self._moved(mine))
        return joined(batch, more), labelled + count, mine + len(self.data.train)

    def _varied(self, batch: Batch, step: int) -> Batch:
        settings, seed = self.trial.augment, self.trial.seed
        if settings == Augment():
            return batch
        x_BCHW, rows = batch.views[0], batch.index
        views = tuple(augment(x_BCHW, settings, seed, step, rows, view) for view in range(self.views))
        attacked = batch.attacked
        if attacked is not None:
            attacked = augment(attacked, settings, seed, step, rows)
        return replace(batch, views=views, attacked=attacked)

    def _attacked(self, batch: Batch, mine_B: Tensor) -> Batch:
        """The batch with this epoch's frozen perturbations, or with the rows to perturb in the step."""
        picked_N = self.state.picked
        if picked_N is None:
            return batch
        others = torch.full((batch.extra,), -1)  # unlabelled rows are never drawn
        at_B = torch.cat([picked_N[mine_B], others])  # on the CPU, so that nothing waits for the device
        if self.refreshed:
            return replace(batch, chosen=(at_B >= 0).nonzero()[:, 0])
        assert self.state.frozen is not None
        at_B = at_B.to(self.workers.device, non_blocking=True)
        x_BCHW = batch.views[0]
        r_BCHW = self.state.frozen[at_B.clamp_min(0)] * (at_B >= 0).view(-1, 1, 1, 1)
        return replace(batch, attacked=x_BCHW + r_BCHW)

    def _mixed(self, batch: Batch, places_B: Tensor, mine_B: Tensor, step: int) -> tuple[Batch, Tensor]:
        """Images and labels mixed with those of their partners in the global batch."""
        seed, size = self.trial.seed, len(places_B)
        weight = mixup_weight(seed, step, self.trial.mixup)
        others_B = places_B[mixup_partners(seed, step, size, torch.device("cpu"))]
        partners_B = self.workers.share(others_B)
        if len(partners_B) < len(mine_B):  # for a lent example
            partners_B = others_B[: len(mine_B)]
        other = self._varied(self.data.train.batch(self._moved(partners_B)), step)
        assert batch.labels is not None
        assert other.labels is not None
        classes = self.data.info.classes
        y_BC, other_BC = (nn.functional.one_hot(y, classes).float() for y in (batch.labels, other.labels))
        views = tuple(mix(a, b, weight) for a, b in zip(batch.views, other.views, strict=True))
        return replace(batch, views=views), mix(y_BC, other_BC, weight)


def joined(batch: Batch, more: Batch) -> Batch:
    """Two batches in one; the second's labels, where it has some, are pseudo-labels."""
    views, lengths = [batch.views[0], more.views[0]], None
    if batch.lengths is not None and more.lengths is not None:
        lengths = torch.cat([batch.lengths, more.lengths])
        longest = max(x.shape[1] for x in views)
        views = [nn.functional.pad(x, (0, longest - x.shape[1])) for x in views]
    labels = batch.labels
    if more.labels is not None and labels is not None:
        labels = torch.cat([labels, more.labels])
    index = torch.cat([batch.index, more.index])
    pseudo = more.labels is not None
    return Batch((torch.cat(views),), labels, index, lengths, extra=len(more), pseudo=pseudo)


def permutation(seed: int, use: str, number: int, size: int) -> Tensor:
    """One pass over ``size`` examples in random order, int64."""
    generator = torch.Generator().manual_seed(derive(seed, use, number))
    return torch.randperm(size, generator=generator)


def window(seed: int, use: str, first: int, count: int, size: int) -> Tensor:
    """``count`` places from ``first`` on, in the endless sequence of passes over ``size`` examples.

    >>> both = torch.cat([window(0, "x", 0, 5, 4), window(0, "x", 5, 3, 4)])
    >>> sorted(both[:4].tolist()), sorted(both[4:].tolist())
    ([0, 1, 2, 3], [0, 1, 2, 3])
    """
    found: list[Tensor] = []
    while count > 0:
        number, start = divmod(first, size)
        part = _pass(seed, use, number, size)[start : start + count]
        found.append(part)
        first, count = first + len(part), count - len(part)
    return torch.cat(found)


@lru_cache(maxsize=8)
def _pass(seed: int, use: str, number: int, size: int) -> Tensor:
    return permutation(seed, use, number, size)
