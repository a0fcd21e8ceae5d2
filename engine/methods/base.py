"""Presets: a published method as a function from its own settings to slots."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from engine.errors import InputError
from engine.models.base import INPUT, ModelInfo
from engine.settings import Frozen, NonNegative, Probability
from engine.slots.ascent import Ascent
from engine.slots.attack import PIXELS, Range
from engine.slots.slots import Slots
from engine.slots.weight import RandomRelative, Relative


class Preset(Frozen):
    """A named method. Its settings are those of its paper; ``slots`` says what they mean."""

    name: str

    @abstractmethod
    def slots(self, model: ModelInfo) -> Slots:
        """The composition that this method stands for, on this model.

        Raises:
            InputError: a target matches no parameter of the model.
        """


def _both(value: Any) -> Any:
    """A scalar means the same for input and weights."""
    return value if isinstance(value, (dict, Frozen)) else {"input": value, "weight": value}


class Radii(Frozen):
    """A radius for each group of targets."""

    input: NonNegative = 5.0
    weight: NonNegative = 5.0


class Probabilities(Frozen):
    """A probability for each group of targets."""

    input: Probability = 0.5
    weight: Probability = 0.5


Epsilon = Annotated[Radii, BeforeValidator(_both, json_schema_input_type=NonNegative | Radii)]
P = Annotated[Probabilities, BeforeValidator(_both, json_schema_input_type=Probability | Probabilities)]
Targets = Annotated[tuple[str, ...], Field(min_length=1)]
InputAs = Literal["matrix", "activations"]


def split_targets(
    patterns: tuple[str, ...], model: ModelInfo, input_as: InputAs
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Concrete targets, input group and weight group apart.

    On a text model ``input`` and ``embedding`` are the same target: the embedding matrix, or the
    embedded tokens when ``input_as`` is ``activations``. On an image model ``input`` is the pixels.

    Raises:
        InputError: a pattern matches no parameter.
    """
    inputs: set[str] = set()
    weights: set[str] = set()
    matrix = model.input_parameter
    for i, pattern in enumerate(patterns):
        for name in model.resolve(pattern, f"method.targets.{i}"):
            if name in (INPUT, matrix):
                inputs.add(matrix if matrix and input_as == "matrix" else INPUT)
            else:
                weights.add(name)
    return tuple(sorted(inputs)), tuple(sorted(weights))


class Composition(Slots):
    """A method written out slot by slot, for what no paper tried.

    >>> Composition.model_validate({"weight": {"targets": ["fc.*"], "epsilon": 1}}).weight.steps
    1
    """

    def slots(self, model: ModelInfo) -> Slots:
        """The slots with their target patterns resolved.

        Raises:
            InputError: a target matches no parameter, or stands in the wrong slot.
        """
        filled: dict[str, Any] = {name: getattr(self, name) for name in Slots.model_fields}
        for place in ("input", "weight"):
            slot = filled[place]
            if isinstance(slot, (Ascent, Relative, RandomRelative)):
                filled[place] = slot.model_copy(update={"targets": _resolved(place, slot, model)})
        return Slots(**filled)


def _resolved(place: str, slot: Ascent | Relative | RandomRelative, model: ModelInfo) -> tuple[str, ...]:
    found: list[str] = []
    ascent = isinstance(slot, Ascent)
    for i, pattern in enumerate(slot.targets):
        where = f"method.{place}.targets.{i}"
        names = model.resolve(pattern, where)
        for name in names:
            is_input = name == INPUT or (ascent and name == model.input_parameter)
            if is_input != (place == "input"):
                legal = "the input in the input slot, other parameters in the weight slot"
                raise InputError(where, repr(pattern), legal)
        found += names
    if place == "input" and len(set(found)) > 1:
        legal = "one of input (the activations) and embedding (the matrix)"
        raise InputError("method.input.targets", list(slot.targets), legal)
    return tuple(sorted(set(found)))


def relative(
    settings: Relative | RandomRelative | None, model: ModelInfo
) -> Relative | RandomRelative | None:
    """A preset's weight perturbation with its targets resolved."""
    if settings is None:
        return None
    return settings.model_copy(update={"targets": _resolved("weight", settings, model)})


def pixels(model: ModelInfo, clamp: Range | None = PIXELS) -> Range | None:
    """The range of an attacked input: that of pixels, none for the embedding of a text."""
    return clamp if model.kind == "image" else None


WeightBlock = Annotated[
    Annotated[Relative, Tag("relative")] | Annotated[RandomRelative, Tag("random")],
    Discriminator("kind"),
]
"""A preset's setting ``weight``: AWP (``kind: relative``) or its random control (``kind: random``)."""


class AWP(Relative):
    """AWP as it may be written in a preset, where its kind goes without saying."""

    kind: Literal["relative"] = "relative"
