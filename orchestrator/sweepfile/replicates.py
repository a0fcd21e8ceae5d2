"""The blocks ``seeds`` as a rule, ``published`` and ``budget.price``, and what they say of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, WrapValidator, model_validator

from engine.errors import did_you_mean
from engine.settings import Count, Frozen, Positive, Whole
from orchestrator.records.metrics import measure_of
from orchestrator.sweepfile.dimensions import POINT, dimensions
from orchestrator.sweepfile.problems import Problem, illegal

if TYPE_CHECKING:
    from orchestrator.sweepfile.sweep import Sweep

MOST_SEEDS = 100_000


class Sequential(Frozen):
    """Seeds that are added, one a cell at a time, where a decision needs them.

    Attributes:
        start: seeds that every cell has at first. most: seeds that a cell has at most.
        decide: ``best``, which cell is the best by the sweep's metric; or ``published``, whether each cell
            with a published value reproduces it.
    """

    start: Annotated[int, Field(strict=True, ge=2)] = 2
    most: Annotated[int, Field(strict=True, ge=3, le=MOST_SEEDS)] = 10
    decide: Literal["best", "published"] = "best"

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.most <= self.start:
            raise ValueError("more seeds at most than at the start, e.g. {start: 2, most: 10}")
        return self


class Published(Frozen):
    """One published value of the sweep's metric.

    Attributes:
        at: the place that it stands for: values of axes by their names, ``point: NAME`` for a named point.
        value: in the metric's unit; an accuracy is a fraction.
        margin: difference up to which a measured mean counts as equal, in the same unit.
        source: where it was printed, and what is uncertain about its reading.
    """

    at: dict[str, Any] = Field(default_factory=dict)
    value: float
    margin: Positive
    source: str = ""


class Price(Frozen):
    """What computing costs, in any currency: one of the two.

    Attributes:
        gpu_hour: an hour of one GPU. cpu_hour: an hour of one CPU.
    """

    gpu_hour: Positive | None = None
    cpu_hour: Positive | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.gpu_hour is None) == (self.cpu_hour is None):
            raise ValueError("exactly one of {gpu_hour: 2.5}, {cpu_hour: 0.04}")
        return self


def _seeds(value: Any, plain: Callable[[Any], tuple[int, ...]]) -> Sequential | tuple[int, ...]:
    """``n`` stands for the seeds 0 ... n - 1, a mapping for the rule."""
    if isinstance(value, (Mapping, Sequential)):
        return Sequential.model_validate(value)
    return plain(tuple(range(value)) if type(value) is int and 1 <= value <= MOST_SEEDS else value)


if TYPE_CHECKING:
    Seeds = Sequential | tuple[int, ...]
else:  # the schema of what is written, which is not the type of what is kept
    Seeds = Annotated[
        tuple[Whole, ...],
        Field(min_length=1),
        WrapValidator(_seeds, json_schema_input_type=Count | list[Whole] | Sequential),
    ]


def replicate_problems(sweep: Sweep) -> Iterator[Problem]:
    """What seeds that are added, and published values, ask of the rest of the file."""
    rule = sweep.sequential
    if rule and sweep.search:
        yield Problem(("seeds",), "is not legal beside search: a number or a list of seeds")
    if rule and rule.decide == "published" and not sweep.published:
        legal = "best, or published: [{at: ..., value: ..., margin: ...}] in the file"
        yield Problem(("seeds", "decide"), illegal("published", legal))
    if sweep.published and sweep.search:
        yield Problem(("published",), "is not legal beside search: places of a grid")
        return
    accuracy = measure_of(sweep.metric.name).rpartition("_")[2] == "accuracy"
    known = _places(sweep)
    for i, one in enumerate(sweep.published):
        for number in ("value", "margin"):
            given = getattr(one, number)
            if accuracy and not 0 <= given <= 1:
                legal = f"a fraction as {sweep.metric.name} is: {given / 100:g} for {given:g} %"
                yield Problem(("published", i, number), illegal(given, legal))
        for name, value in one.at.items():
            place = ("published", i, "at", name)
            if name not in known:
                legal = f"an axis of this sweep; {did_you_mean(name, list(known))}"
                yield Problem(place, f"is not legal: {legal}")
            elif value not in known[name]:
                yield Problem(place, illegal(value, f"a value that {name} has in this sweep"))


def price_problems(sweep: Sweep) -> Iterator[Problem]:
    """A limit of cost needs a price, and a price of GPUs needs GPUs."""
    budget = sweep.budget
    if budget.cost is not None and budget.price is None:
        legal = "budget.cost needs one, e.g. price: {cpu_hour: 0.04}"
        yield Problem(("budget", "price"), f"is missing: {legal}")
    if budget.price and budget.price.gpu_hour and not sweep.resources.gpus:
        legal = "cpu_hour, since resources.gpus is 0"
        yield Problem(("budget", "price"), f"{{gpu_hour: {budget.price.gpu_hour:g}}} is not legal: {legal}")


def _places(sweep: Sweep) -> dict[str, list[Any]]:
    """Every dimension of the sweep by its label, with its values."""
    found = {name: list(values) for name, (_, values) in dimensions(sweep).items()}
    return found | ({POINT: list(sweep.points)} if sweep.points else {})
