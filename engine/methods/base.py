"""Presets: a published method as a function from its own settings to slots."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from engine.errors import InputError
from engine.models.base import INPUT, ModelInfo
from engine.settings import Frozen, NonNegative, Probability
from engine.slots.ascent import Ascent, InputAscent
from engine.slots.slots import Slots


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


class Composition(Frozen):
    """A method written out slot by slot, for what no paper tried.

    >>> Composition.model_validate({"weight": {"targets": ["fc.*"], "epsilon": 1}}).weight.steps
    1
    """

    input: InputAscent | None = None
    weight: Ascent | None = None
    clean: NonNegative = 1.0

    def slots(self, model: ModelInfo) -> Slots:
        """The slots with their target patterns resolved.

        Raises:
            InputError: a target matches no parameter, or stands in the wrong slot.
        """
        filled: dict[str, Any] = {"clean": self.clean}
        for place, slot in (("input", self.input), ("weight", self.weight)):
            if slot is not None:
                filled[place] = slot.model_copy(update={"targets": self._targets(place, slot, model)})
        return Slots(**filled)

    @staticmethod
    def _targets(place: str, slot: Ascent, model: ModelInfo) -> tuple[str, ...]:
        found: list[str] = []
        for i, pattern in enumerate(slot.targets):
            where = f"method.{place}.targets.{i}"
            names = model.resolve(pattern, where)
            for name in names:
                is_input = name in (INPUT, model.input_parameter)
                if is_input != (place == "input"):
                    legal = "the input in the input slot, other parameters in the weight slot"
                    raise InputError(where, repr(pattern), legal)
            found += names
        if place == "input" and len(set(found)) > 1:
            legal = "one of input (the activations) and embedding (the matrix)"
            raise InputError("method.input.targets", list(slot.targets), legal)
        return tuple(sorted(set(found)))
