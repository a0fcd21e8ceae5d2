"""The losses of the objective slot: what one point of the weights costs, example by example."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from engine.slots.objective import AGAINST_LABELS, Branch, Divergence, Objective, Term

See = Callable[[Branch | Literal["natural"]], Tensor]
"""Logits_BC of a branch, computed where they are first asked for."""


@dataclass(frozen=True)
class Aims:
    """What a batch is to be answered with.

    Attributes:
        labels: y_L int64, probabilities y_LC, or the pixels (L, ...) of a model that reconstructs; of the
            first L rows of the batch.
        labelled: examples with labels in the *global* batch. examples: all of them.
        extra: trailing rows of this worker's part that are pseudo-labelled; 0 where they have no labels.
        pseudo: whether the rows beside the labelled ones are pseudo-labelled, on any worker.
    """

    labels: Tensor
    labelled: int
    examples: int
    extra: int = 0
    pseudo: bool = False


@dataclass(frozen=True)
class Value:
    """The objective of a worker's part of a batch.

    Attributes:
        total: sum over the labelled examples; a divergence over all examples, or the entropy of the
            unlabelled ones, weighs as much as if each were averaged over its own number. Shape ().
        logits: of the natural branch, of the first term's where nothing needs the natural.
    """

    total: Tensor
    logits: Tensor


def supervised(logits: Tensor, labels: Tensor) -> Tensor:
    """-log q_y; -sum_c y_c log q_c for probabilities; the mean squared error of pixels. Per row (B,)."""
    if labels.dim() > 1 and labels.shape[1:] != logits.shape[1:]:
        return (logits - labels.flatten(1)).square().mean(1)
    return F.cross_entropy(logits, labels, reduction="none")


def divergence(kind: Divergence, p_BC: Tensor, q_BC: Tensor) -> Tensor:
    """D from logits p_BC to logits q_BC, one number per row (B,): ``kl`` or ``squared``.

    Source: Adversarial Dropout's code, for the mean over classes of the quadratic error.

    >>> p = torch.tensor([[0.0, 0.0]])
    >>> round(float(divergence("squared", p, torch.tensor([[math.log(3.0), 0.0]]))), 6)
    0.0625
    """
    if kind == "squared":
        return (p_BC.softmax(1) - q_BC.softmax(1)).square().mean(1)
    return F.kl_div(q_BC.log_softmax(1), p_BC.log_softmax(1), reduction="none", log_target=True).sum(1)


def margin(q_BC: Tensor, y_B: Tensor) -> Tensor:
    """-log q_y - log(1.0001 - max_{k != y} q_k), one number per row (B,).

    Source: MART, Eq. 8 (BCE); the slack of 1e-4 is that of its released code.
    """
    q_BC = q_BC.softmax(1)
    wrong_BC = q_BC.scatter(1, y_B[:, None], -1.0)
    right_B = q_BC.gather(1, y_B[:, None])[:, 0]
    return -(right_B + 1e-12).log() - (1.0001 - wrong_BC.amax(1) + 1e-12).log()


def entropy(p_BC: Tensor) -> Tensor:
    """-sum_c p_c log p_c, one number per row (B,)."""
    log_BC = p_BC.log_softmax(1)
    return -(log_BC.exp() * log_BC).sum(1)


def ramp(term: Term, epoch: float) -> float:
    """exp(-5 (1 - t / ramp)^2) at epoch t < ramp, then 1.

    >>> round(ramp(Term(branch="view", divergence="kl", ramp=80), 40), 4)
    0.2865
    """
    return math.exp(-5 * (1 - epoch / term.ramp) ** 2) if epoch < term.ramp else 1.0


def evaluate(settings: Objective, see: See, aims: Aims, epoch: float) -> Value:
    """L of a worker's part of a batch.

    Args:
        settings: the objective slot. see: logits of the branches. aims: labels and global numbers.
        epoch: epochs trained so far, a fraction within one, for the ramps.
    """
    count = len(aims.labels)
    plain = settings.natural == 1 and not aims.extra
    parts: list[Tensor] = []
    if settings.natural:
        logits = see("natural")[:count]
        hard = aims.labels.dim() == 1
        if plain and hard:
            parts.append(F.cross_entropy(logits, aims.labels, reduction="sum"))
        else:
            parts.append(settings.natural * _weighed(supervised(logits, aims.labels), settings, aims))
    parts += [t.weight * ramp(t, epoch) * _term(t, settings, see, aims) for t in settings.terms]
    if settings.entropy:
        rest = see("natural")[count:]
        if len(rest):
            share = aims.labelled / (aims.examples - aims.labelled)
            parts.append(settings.entropy * share * entropy(rest).sum())
    total = parts[0] if len(parts) == 1 else torch.stack(parts).sum()
    natural = settings.natural or settings.entropy or _predicts(settings)
    return Value(total, see("natural" if natural else settings.terms[0].branch))


def _term(term: Term, settings: Objective, see: See, aims: Aims) -> Tensor:
    if term.divergence in AGAINST_LABELS:
        logits = see(term.branch)[: len(aims.labels)]
        lost = supervised if term.divergence == "ce" else margin
        return _weighed(lost(logits, aims.labels), settings, aims)
    p_BC, q_BC = see("natural"), see(term.branch)
    if term.detach:
        p_BC = p_BC.detach()
    if term.divergence == "mart":
        p_L = p_BC[: len(aims.labels)].softmax(1).gather(1, aims.labels[:, None])[:, 0]
        lost_L = divergence("kl", p_BC, q_BC)[: len(aims.labels)] * (1.0000001 - p_L)
        return _weighed(lost_L, settings, aims)
    lost_B = divergence(term.divergence, p_BC, q_BC)
    if aims.pseudo:
        return _weighed(lost_B, settings, aims)
    return aims.labelled / aims.examples * lost_B.sum()


def _weighed(lost_B: Tensor, settings: Objective, aims: Aims) -> Tensor:
    """The sum over the labelled rows, and over the pseudo-labelled ones by their weight and number.

    Source: AWP, Eq. 4: both losses are means, over the labelled and over the pseudo-labelled examples.
    """
    if not aims.extra:
        return lost_B.sum()
    cut = len(lost_B) - aims.extra
    share = aims.labelled / (aims.examples - aims.labelled)
    return lost_B[:cut].sum() + settings.unlabelled * share * lost_B[cut:].sum()


def _predicts(settings: Objective) -> bool:
    return any(term.divergence not in AGAINST_LABELS for term in settings.terms)
