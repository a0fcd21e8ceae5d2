"""Evaluations by name, and those that carry an attack inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, InstanceOf, SerializeAsAny

from engine.components import find, plugin_hash
from engine.data.base import DataInfo, Split
from engine.errors import InputError
from engine.evaluations import pgd
from engine.evaluations.attacks import AttackConfig
from engine.evaluations.base import EvaluationConfig
from engine.models.base import ModelInfo

OUTER = ("label", "checkpoint", "split", "examples", "seed")
"""Settings of the evaluation around an attack, which the attack takes over."""


def evaluation(value: Any, where: str = "evaluation") -> EvaluationConfig:
    """An evaluation from its settings; ``pgd`` is short for ``{name: pgd}``.

    >>> evaluation({"name": "pgd", "steps": 5}).steps
    5

    Raises:
        InputError: no evaluation has that name. ValidationError: a setting is not legal.
    """
    if isinstance(value, EvaluationConfig):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise InputError(where, repr(value), "a name, or a mapping with a name and settings")
    found = find("evaluations", value.get("name"), f"{where}.name")
    made: EvaluationConfig = found.model_validate(dict(value))  # type: ignore[attr-defined]
    return made


def attack_of(value: Any, where: str = "evaluation.attack", outer: Sequence[str] = OUTER) -> AttackConfig:
    """An attack from its settings, without those that belong to what is around it."""
    found = evaluation(value, where)
    if not isinstance(found, AttackConfig):
        raise InputError(f"{where}.name", repr(found.name), "an attack: pgd, fgsm, cw, ...")
    for name in outer:
        if getattr(found, name) != type(found).model_fields[name].default:
            raise InputError(f"{where}.{name}", getattr(found, name), "left out: what is around it says")
    return found


class AroundAttack(EvaluationConfig):
    """An evaluation that attacks several times.

    Attributes:
        attack: which attack, by name and settings; without those that the evaluation itself has.
    """

    attack: Annotated[SerializeAsAny[InstanceOf[AttackConfig]], BeforeValidator(attack_of)] = pgd.Config(
        name="pgd"
    )

    def inner(self, split: Split) -> AttackConfig:
        """The attack on one split, with the settings of this evaluation."""
        return self.attack.model_copy(update={"split": split, "examples": self.examples, "seed": self.seed})

    def check(self, data: DataInfo, model: ModelInfo) -> None:
        """Refuse a model without classes, and what the attack refuses."""
        self.need_classes(model)
        self.attack.check(data, model)

    def canonical(self) -> dict[str, Any]:
        """As of any evaluation, the attack's canonical form inside."""
        inside = self.attack.canonical()
        del inside["checkpoint"]
        plugin = plugin_hash("evaluations", self.attack.name)
        if plugin is not None:
            inside["plugin"] = plugin
        return {**super().canonical(), "attack": inside}
