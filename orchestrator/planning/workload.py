"""How much a trial computes, and what decides how long that takes: known without reading any data."""

from __future__ import annotations

import json
from dataclasses import dataclass

from engine.config import Trial


@dataclass(frozen=True)
class Work:
    """What a trial computes.

    Attributes:
        kind: all that decides how long one pass over one batch takes, as text: model, data, batch,
            precision, what is measured after an epoch.
        passes: forward and backward passes of a step (1 + 2K for DropAttack). steps: of an epoch; 1 where
            the data set does not say how large it is, and the kind then names the examples.
        epochs: at most. early: whether patience may end it before.
    """

    kind: str
    passes: int
    steps: int
    epochs: int
    early: bool

    @property
    def units(self) -> int:
        """Passes over a batch in all."""
        return self.passes * self.steps * self.epochs


def work_of(trial: Trial) -> Work:
    """The work of a trial.

    >>> t = dict(data={"name": "digits", "train_size": 256}, model="lenet5_8x8", epochs=3, batch_size=64)
    >>> method = dict(name="dropattack", targets=["input", "conv1.w"], steps=2)
    >>> work = work_of(Trial.model_validate(t | {"method": method}))
    >>> work.passes, work.steps, work.units
    (5, 4, 60)
    """
    steps = steps_of(trial)
    kind = {
        "model": trial.model_info.canonical,
        "data": {"name": trial.data.name, **trial.data.preprocessing()},
        "batch": [trial.batch_size, trial.unlabelled_batch if trial.learns_unlabelled else 0],
        "precision": trial.precision,
        "attacks": {name: one.canonical() for name, one in trial.attacks.items()},
        "other": [trial.watch_test, trial.compile, trial.memory_format],
    }
    if steps is None:
        kind["examples"] = trial.data.selection()
    text = json.dumps(kind, sort_keys=True, default=str)
    return Work(text, trial.slots.passes, steps or 1, trial.epochs, trial.patience > 0)


def steps_of(trial: Trial) -> int | None:
    """Optimisation steps of an epoch; None where the data set does not say how large it is."""
    if trial.steps_per_epoch is not None:
        return trial.steps_per_epoch
    data = trial.data
    size = data.labelled or data.train_size or data.info().sizes.get("train")
    return None if size is None else -(-size // trial.batch_size)
