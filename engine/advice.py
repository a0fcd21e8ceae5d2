"""What a legal trial asks for without effect, or hardly: said before it runs, and no reason to refuse it."""

from __future__ import annotations

import math

from engine.config import Trial
from engine.data.augment_settings import Augment
from engine.slots.attack import Attack, Replay


def advice(trial: Trial) -> list[str]:
    """One line for each setting that does nothing here.

    >>> t = Trial.model_validate(dict(data="digits", model="lenet5_8x8", method="pi_model", epochs=100))
    >>> advice(t)[0].partition(":")[0]
    'trial.method'
    """
    return [line for find in (_views, _mask, _labels, _ramps, _radii, _unlabelled) for line in find(trial)]


def _noisy(trial: Trial) -> bool:
    """Whether two passes over one example differ."""
    return trial.augment != Augment() or any(trial.model_info.rates)


def _views(trial: Trial) -> list[str]:
    if not trial.slots.objective.uses("view") or _noisy(trial):
        return []
    return ["trial.method: both views are the same without augmentation or dropout: their divergence is 0"]


def _mask(trial: Trial) -> list[str]:
    """With identical branches the virtual divergence is at its minimum, where J is rounding alone."""
    slot = trial.slots.dropout
    if slot is None or slot.target == "labels":
        return []
    rates = dict(zip(trial.model_info.sites, trial.model_info.rates, strict=True))
    drawn = slot.base == "bernoulli" and rates.get(slot.site, 0.0) > 0
    if drawn or (slot.views == 2 and trial.augment != Augment()):
        return []
    return [
        "trial.method: adversarial dropout has no gradient to follow: give it base: bernoulli and the model "
        "a dropout > 0, or views: 2 and an augmentation"
    ]


def _labels(trial: Trial) -> list[str]:
    labelled = getattr(trial.data, "extra_labels", False) or (trial.init and trial.init.use == "labels")
    if not trial.method_name.startswith("rst") or labelled:
        return []
    return ["trial.method: RST without pseudo-labels is TRADES; give init: {from: ..., use: labels}"]


def _ramps(trial: Trial) -> list[str]:
    longest = max((term.ramp for term in trial.slots.objective.terms), default=0)
    if longest <= trial.epochs:
        return []
    share = math.exp(-5 * (1 - trial.epochs / longest) ** 2)
    return [
        f"trial.method.ramp: {longest} of {trial.epochs} epochs: the weight reaches {share:.1%} of its height"
    ]


def _radii(trial: Trial) -> list[str]:
    slot = trial.slots.input
    if trial.model_info.kind != "text" or not isinstance(slot, (Attack, Replay)):
        return []
    if slot.norm == "linf" or slot.epsilon != 8 / 255:
        return []
    return ["trial.method.epsilon: 8/255 is a radius for pixels; texts are attacked in their embedding"]


def _unlabelled(trial: Trial) -> list[str]:
    if trial.unlabelled_batch is None or trial.learns_unlabelled:
        return []
    return [
        f"trial.unlabelled_batch: {trial.unlabelled_batch} has no effect: nothing unlabelled is learnt from"
    ]
