"""What a trial is called: the SHA-256 of its canonical form.

Trials with one key compute the same thing; what the canonical form cannot know to be without effect (a
setting of BatchNorm on a network that has none) makes two keys of one computation. The form holds the
resolved slots, the data's content hash and the precision, and leaves out every value that equals its default
in the engine contract :data:`CONTRACT`, so that a setting added later changes no old key. It never holds
paths, hosts, worker counts, packing or logging options.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from engine.components import plugin_hash
from engine.config import Trial
from engine.evaluations.base import EvaluationConfig

CONTRACT = 1
"""Version of what the engine computes; raised when a default or a result of the engine changes."""


def canonical(trial: Trial) -> dict[str, Any]:
    """The canonical form of a trial, as plain JSON values.

    >>> t = Trial.model_validate(dict(data="digits", model="lenet5_8x8", method="standard", seed=3))
    >>> form = canonical(t)
    >>> form["method"], form["seed"]
    ({}, 3)
    """
    parent = trial.parent()
    form: dict[str, Any] = {
        "contract": CONTRACT,
        "data": _data(trial),
        "model": trial.model_info.canonical,
        "method": trial.slots.model_dump(mode="json", exclude_defaults=True),
        "optimizer": {
            "name": trial.optimizer.name,
            **trial.optimizer.model_dump(mode="json", exclude_defaults=True),
        },
        "epochs": trial.epochs,
        "batch_size": trial.batch_size,
        "seed": trial.seed,
        "precision": trial.precision,
    }
    form |= _changed(trial)
    if parent is not None and trial.init is not None:
        form["init"] = {"key": trial_key(parent), "checkpoint": trial.init.checkpoint}
        if trial.init.use != "weights":
            form["init"]["use"] = trial.init.use
        if trial.leaves:
            form["init"]["leave"] = sorted(set(trial.leaves))
    plugins = _plugins(trial)
    if plugins:
        form["plugins"] = plugins
    return form


def _changed(trial: Trial) -> dict[str, Any]:
    """The settings added since the first contract, where they differ from their defaults."""
    names = ("select", "regularise", "augment", "mixup", "patience", "unlabelled_batch", "steps_per_epoch",
             "watch_test", "memory_format", "compile")  # fmt: skip
    given = trial.model_dump(mode="json", include=set(names), exclude_defaults=True)
    form = {name: value for name, value in given.items() if value not in ({}, None)}
    if trial.schedule.name != "constant":
        changed = trial.schedule.model_dump(mode="json", exclude_defaults=True)
        form["schedule"] = {**changed, "name": trial.schedule.name}
    if trial.attacks:
        form["attacks"] = {label: _attack(found) for label, found in trial.attacks.items()}
    return form


def _attack(evaluation: EvaluationConfig) -> dict[str, Any]:
    form = evaluation.canonical()
    del form["checkpoint"]
    plugin = plugin_hash("evaluations", evaluation.name)
    return form if plugin is None else {**form, "plugin": plugin}


def trial_key(trial: Trial) -> str:
    """Key of one run: 64 hexadecimal digits."""
    return digest(canonical(trial))


def member_key(trial: Trial, population: Mapping[str, str]) -> str:
    """Key of one run that is a member of a population.

    What a member computes depends on all others: it is never taken for the trial by itself, nor for a
    member of another population.

    Args:
        trial: with the settings that the sweep file gives it. population: what tells it from others.
    """
    return digest({**canonical(trial), "population": dict(population)})


def cell_key(trial: Trial) -> str:
    """Key of the cell: the same for every seed."""
    form = canonical(trial)
    del form["seed"]
    if trial.parent() is not None:
        form["init"]["key"] = cell_key(trial.parent())  # type: ignore[arg-type]
    return digest(form)


def evaluation_key(trial: Trial, evaluation: EvaluationConfig) -> str:
    """Key of an evaluation of one of the trial's checkpoints."""
    return EvaluationKeys(evaluation).key(trial_key(trial))


class EvaluationKeys:
    """What an evaluation of many trials is called; its own canonical form is made once.

    Args:
        evaluation: with its settings.
    """

    def __init__(self, evaluation: EvaluationConfig) -> None:
        self._form: dict[str, Any] = {"evaluation": evaluation.canonical()}
        plugin = plugin_hash("evaluations", evaluation.name)
        if plugin is not None:
            self._form["plugin"] = plugin
        self._head = _text(self._form).removesuffix("}")

    def canonical(self, trial: str) -> dict[str, Any]:
        """The canonical form for the trial with this key."""
        return {"trial": trial, **self._form}

    def key(self, trial: str) -> str:
        """Key of the evaluation of the trial with this key: the digest of :meth:`canonical`."""
        return hashlib.sha256(f'{self._head},"trial":"{trial}"}}'.encode()).hexdigest()


class Seeds:
    """What the seeds of a cell are called; the canonical form is made once, for every seed but its number.

    Args:
        trial: with any seed. population: of which each is a member (:func:`member_key`); None for no one.

    Attributes:
        cell: key of the cell. data_hash: of its data. parent: of the trial that it starts from, or None.

    >>> t = Trial.model_validate(dict(data="digits", model="lenet5_8x8", method="standard", seed=3))
    >>> Seeds(t).key(3) == trial_key(t)
    True
    """

    def __init__(self, trial: Trial, population: Mapping[str, str] | None = None) -> None:
        parent = trial.parent()
        self.trial, self.parent = trial, None if parent is None else Seeds(parent)
        self.population = None if population is None else dict(population)
        self._form = canonical(trial)
        if self.population is not None:
            self._form["population"] = self.population
        self._settings = trial.model_dump(mode="json")
        self.data_hash = digest(self._form["data"])
        cell = {name: value for name, value in self._form.items() if name != "seed"}
        if self.parent is not None:
            cell["init"] = {**cell["init"], "key": self.parent.cell}
        self.cell: str = digest(cell)
        self._head = _text({k: v for k, v in self._form.items() if k < "seed"}).removesuffix("}")
        self._tail = _text({k: v for k, v in self._form.items() if k > "seed"}).removeprefix("{")

    def canonical(self, seed: int) -> dict[str, Any]:
        """As :func:`canonical` of the trial with this seed."""
        form = {**self._form, "seed": seed}
        if self.parent is not None:
            form["init"] = {**form["init"], "key": self.parent.key(seed)}
        return form

    def key(self, seed: int) -> str:
        """As :func:`trial_key` of the trial with this seed."""
        if self.parent is not None:
            return digest(self.canonical(seed))
        end = self._tail if self._tail == "}" else f",{self._tail}"
        return hashlib.sha256(f'{self._head},"seed":{seed}{end}'.encode()).hexdigest()

    def settings(self, seed: int) -> dict[str, Any]:
        """The settings of the trial with this seed, as plain JSON values; what is inside them is shared."""
        return {**self._settings, "seed": seed}


def data_hash(trial: Trial) -> str:
    """Hash of everything that decides the examples: content, preprocessing and its version, selection."""
    return digest(_data(trial))


def _data(trial: Trial) -> dict[str, Any]:
    return {
        "content": trial.data.content(),
        "version": trial.data.version,
        **trial.data.preprocessing(),
        **trial.data.selection(),
        "name": trial.data.name,
    }


def _plugins(trial: Trial) -> dict[str, str]:
    used = {
        "data": plugin_hash("data", trial.data.name),
        "models": plugin_hash("models", trial.model["name"]),
        "methods": plugin_hash("methods", getattr(trial.method, "name", "")),
    }
    return {kind: digest for kind, digest in used.items() if digest is not None}


def digest(form: dict[str, Any]) -> str:
    """Key of a canonical form: the SHA-256 of its JSON text with sorted keys and no spaces.

    >>> digest({"b": 1, "a": [2]}) == hashlib.sha256(b'{"a":[2],"b":1}').hexdigest()
    True
    """
    return hashlib.sha256(_text(form).encode()).hexdigest()


def _text(form: dict[str, Any]) -> str:
    return json.dumps(form, sort_keys=True, separators=(",", ":"), allow_nan=False)
