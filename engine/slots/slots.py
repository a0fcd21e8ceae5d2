"""A method, resolved: the five slots and how they fit together.

With L the objective (:mod:`engine.slots.objective`), every method of the engine minimises

    min over theta of   L(theta + v, x', e)

where x' comes from the input slot, v from the weight slot and the mask e from the dropout slot, or, with
ascents in place of an attack or of v,

    clean * L(theta, x)  +  mean_t L(theta, x + M_x * r_x^t)  +  mean_t L(theta + M_w * r_w^t, x).

:mod:`engine.step` carries it out. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from engine.settings import Frozen, NonNegative
from engine.slots.ascent import Ascent, InputAscent
from engine.slots.attack import Attack, Replay, Virtual
from engine.slots.dropout import AdversarialDropout
from engine.slots.objective import AGAINST_LABELS, Objective
from engine.slots.selection import Selection
from engine.slots.weight import RandomRelative, Relative


def _kind(value: Any) -> str:
    found = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return found if isinstance(found, str) else "ascent"


def _one_of(*kinds: str) -> Discriminator:
    legal = f"kind should be one of {', '.join(kinds)}"
    return Discriminator(_kind, custom_error_type="kind", custom_error_message=legal)


Input = Annotated[
    Annotated[InputAscent, Tag("ascent")]
    | Annotated[Attack, Tag("attack")]
    | Annotated[Virtual, Tag("virtual")]
    | Annotated[Replay, Tag("replay")],
    _one_of("ascent", "attack", "virtual", "replay"),
]
Weight = Annotated[
    Annotated[Ascent, Tag("ascent")]
    | Annotated[Relative, Tag("relative")]
    | Annotated[RandomRelative, Tag("random")],
    _one_of("ascent", "relative", "random"),
]


class Slots(Frozen):
    """The composition that a method stands for.

    Attributes:
        selection: which examples the input slot perturbs; None for all of them.
        input: perturbation of the input (for text its embedding matrix or its activations), or None.
        weight: perturbation of weights, or None.
        dropout: adversarial dropout, or None.
        objective: the loss of one point.
        clean: weight of the unperturbed pass beside ascents (1; the printed Algorithm 2 of DropAttack
            counts the clean gradient once in each of its two accumulators, which is 2).
    """

    input: Input | None = None
    weight: Weight | None = None
    clean: NonNegative = 1.0
    selection: Selection | None = None
    dropout: AdversarialDropout | None = None
    objective: Objective = Objective()

    def collapsed(self) -> Slots:
        """The canonical form: slots that do nothing are empty.

        A slot that perturbs nothing is dropped together with its loss term, an attack that no term looks
        at likewise. Where no ascent is left, so is the weight of the pass beside them. Only an attack can be
        made before its step, or anew at perturbed weights.
        """
        input_, weight = (s.collapsed() if s else None for s in (self.input, self.weight))
        objective = self.objective.collapsed(input_ is not None)
        if isinstance(input_, (Attack, Virtual)) and not objective.uses("attack"):
            input_ = None
        dropout = self.dropout.collapsed() if self.dropout and objective.uses("dropout") else None
        ascents = isinstance(input_, InputAscent) or isinstance(weight, Ascent)
        selection = self.selection if input_ is not None else None
        if selection is not None and not isinstance(input_, Attack):
            selection = selection.model_copy(update={"perturbations": "refreshed"})
        frozen = selection is not None and self._frozen
        if isinstance(weight, Relative) and (frozen or not isinstance(input_, Attack)):
            weight = weight.unalternated()
        return Slots(
            input=input_,
            weight=weight,
            clean=self.clean if ascents else 1.0,
            selection=selection,
            dropout=dropout,
            objective=objective,
        )

    @property
    def ascents(self) -> tuple[Ascent, ...]:
        """The ascents in use, input first."""
        return tuple(s for s in (self.input, self.weight) if isinstance(s, Ascent))

    @property
    def passes(self) -> int:
        """Forward passes of one optimisation step, those of attacks made in it included.

        >>> Slots(weight=Ascent(targets=("w",), epsilon=1, steps=3)).passes
        4
        """
        objective = int(bool(self.objective.natural) or self._needs_prediction)
        objective += len({term.branch for term in self.objective.terms if term.branch != "ensemble"})
        objective += self.dropout is not None  # the search for its mask
        if isinstance(self.input, Virtual):
            objective += self.input.iterations
        rounds = 1 + sum(slot.steps for slot in self.ascents)
        found, attack = 0, 0
        if isinstance(self.input, Attack) and not self._frozen:
            attack = self.input.steps + (self.input.against == "prediction")
        elif isinstance(self.input, Replay):
            rounds = self.input.replays
        if isinstance(self.weight, Relative):
            found = self.weight.alternations * (attack + self.weight.steps * objective)
            attack = 0
        return found + attack + rounds * objective

    @property
    def _needs_prediction(self) -> bool:
        consistent = any(term.divergence not in AGAINST_LABELS for term in self.objective.terms)
        return consistent or bool(self.objective.entropy) or self.dropout is not None

    @property
    def _frozen(self) -> bool:
        return self.selection is not None and self.selection.perturbations == "frozen"
