"""Robust accuracy against the radius."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from engine.errors import InputError
from engine.evaluations.base import Findings, Subject
from engine.evaluations.nested import AroundAttack
from engine.settings import NonNegative


class Config(AroundAttack):
    """The attack in balls of several radii, its steps in proportion to the radius.

    Metrics: ``accuracy@epsilon`` for each. Table ``curve``: ``epsilon``, ``accuracy``, ``loss``. Nothing
    forces the curve to fall: each radius is attacked by itself.

    Attributes:
        epsilons: radii, increasing; 0 is the clean accuracy.

    Source: Adaptive Adversarial Training, Fig. 1-3.
    """

    name: Literal["robust_curve"]
    epsilons: Annotated[tuple[NonNegative, ...], Field(min_length=1)]

    @field_validator("epsilons")
    @classmethod
    def _increase(cls, epsilons: tuple[float, ...]) -> tuple[float, ...]:
        names = [f"{e:g}" for e in epsilons]
        if list(epsilons) != sorted(epsilons) or len(set(names)) < len(names):
            raise InputError("evaluation.epsilons", epsilons, "increasing numbers, no two alike in 6 digits")
        return epsilons

    def run(self, subject: Subject) -> Findings:
        """One attack for each radius."""
        found = [self.inner(self.split).at(epsilon).run(subject) for epsilon in self.epsilons]
        labels = [f"{epsilon:g}" for epsilon in self.epsilons]
        rows = [
            {"epsilon": epsilon, "accuracy": f.metrics["accuracy"], "loss": f.metrics["loss"]}
            for epsilon, f in zip(self.epsilons, found, strict=True)
        ]
        return Findings(
            metrics={f"accuracy@{e}": f.metrics["accuracy"] for e, f in zip(labels, found, strict=True)},
            tables={"curve": rows},
            correct={f"robust@{e}": f.correct["robust"] for e, f in zip(labels, found, strict=True)},
            examples=found[0].examples,
        )
