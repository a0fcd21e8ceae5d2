"""The blocks of a sweep file: search space, metric, resources, budget and reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from engine.settings import Count, Frozen, NonNegative, Positive, Whole
from orchestrator.records.metrics import LABEL, RESERVED, TRIAL_METRICS, lower_is_better
from orchestrator.sweepfile.replicates import Price

_EVALUATED = {
    "type": "string",
    "pattern": rf"^(?!({'|'.join(RESERVED)})\.){LABEL}\..+$",
    "description": "an evaluation's LABEL.MEASURE",
}
_ATTACKED = {
    "pattern": rf"^(val|test)\.{LABEL}\.(accuracy|loss)$",
    "type": "string",
    "description": "under one of the trial's attacks",
}
MetricName = Annotated[
    str,
    Field(strict=True),
    WithJsonSchema({"anyOf": [{"enum": list(TRIAL_METRICS), "type": "string"}, _ATTACKED, _EVALUATED]}),
]
"""A metric of every trial, or of an evaluation; that the sweep asks for it is checked with the sweep."""

Number = Annotated[float, Field(strict=True)]
Integer = Annotated[int, Field(strict=True)]


def repeated(values: Sequence[Any]) -> int | None:
    """Position of the first value that stood before; None when all differ. 1 and 1.0 are the same.

    >>> repeated((0, 0.5, 0.0)), repeated((1, True)), repeated(([1], [2]))
    (2, None, None)
    """
    seen: set[str] = set()
    for i, value in enumerate(values):
        known = _plain(value)
        if known in seen:
            return i
        seen.add(known)
    return None


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return repr(sorted((key, _plain(inner)) for key, inner in value.items()))
    if isinstance(value, (list, tuple)):
        return repr([_plain(inner) for inner in value])
    return repr(float(value)) if type(value) is int and abs(value) < 2**53 else repr(value)


class Searched(Frozen):
    """One searched setting: what it is drawn from, and when it exists at all."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    uniform: tuple[Number, Number] | None = Field(None, description="a number between two bounds")
    log_uniform: tuple[Positive, Positive] | None = Field(
        None, description="a number between two positive bounds, uniform in its logarithm"
    )
    int_: tuple[Integer, Integer] | None = Field(
        None, alias="int", description="a whole number, bounds included"
    )
    choice: tuple[Any, ...] | None = Field(None, min_length=1, description="one of these values")
    when: dict[str, Any] = Field(
        default_factory=dict,
        description="only where settings searched before this one have this value, or one of a list",
    )

    @property
    def kind(self) -> Literal["uniform", "log_uniform", "int", "choice"]:
        """Which of the four it is."""
        if self.choice is not None:
            return "choice"
        if self.int_ is not None:
            return "int"
        return "uniform" if self.uniform is not None else "log_uniform"

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value of a number."""
        found = self.uniform or self.log_uniform or self.int_
        if found is None:
            raise TypeError("a choice has no bounds")
        return found

    @property
    def extremes(self) -> tuple[Any, ...]:
        """All choices, or the lowest and the highest value."""
        return self.choice if self.choice is not None else self.bounds

    def active(self, chosen: dict[str, Any]) -> bool:
        """Whether the setting exists beside those chosen so far."""
        return all(
            name in chosen and chosen[name] in (values if isinstance(values, list) else [values])
            for name, values in self.when.items()
        )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [self.uniform, self.log_uniform, self.int_, self.choice]
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("exactly one of uniform, log_uniform, int, choice")
        if self.choice is None and self.bounds[0] >= self.bounds[1]:
            raise ValueError("two bounds, the lower one first, e.g. {uniform: [0, 1]}")
        if self.choice is not None and repeated(self.choice) is not None:
            raise ValueError("choices that differ")
        return self


class Metric(Frozen):
    """What the sweep is judged by.

    Attributes:
        name: ``split.measure``, or ``label.measure`` of one of the sweep's evaluations.
        mode: ``max`` or ``min`` is better; by default ``min`` for a loss, else ``max``.
        checkpoint: measured with the weights of the ``best`` epoch on validation, or of the ``last``; an
            evaluation's metric has the evaluation's.
    """

    name: MetricName = "val.accuracy"
    mode: Literal["max", "min"] = "max"
    checkpoint: Annotated[str, WithJsonSchema({"enum": ["best", "last"], "type": "string"})] = "best"

    @field_validator("checkpoint")
    @classmethod
    def _of_a_trial(cls, checkpoint: str) -> str:
        if checkpoint not in ("best", "last"):  # an evaluation's may be another, and is taken from it
            raise ValueError("'best' or 'last'")
        return checkpoint

    @model_validator(mode="before")
    @classmethod
    def _mode_follows_name(cls, value: Any) -> Any:
        if isinstance(value, dict) and lower_is_better(str(value.get("name", ""))):
            return {"mode": "min", **value}
        return value


class Resources(Frozen):
    """What one trial takes.

    Attributes:
        cpus: CPUs of each worker. gpus: GPUs of each; 0.25 lets four trials share one, ``auto`` as many
            as the memory that the first of a kind held allows.
        workers: ranks that train a trial together (DDP).
        micro: examples that a worker passes at once, to save memory; 0 for its whole share of a batch.
            Results are the same, so that no key depends on it.
    """

    cpus: Positive = 1
    gpus: Literal["auto"] | NonNegative = 0.0
    workers: Count = 1
    micro: Whole = 0

    @property
    def most_gpus(self) -> float:
        """GPUs of a worker at most: ``auto`` is one or less."""
        return 1.0 if self.gpus == "auto" else self.gpus

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.gpus == "auto":
            return self
        if self.gpus % 1 and self.workers > 1:
            raise ValueError("a whole number of gpus when workers > 1: each rank needs a GPU of its own")
        if self.gpus % 1 and self.gpus > 1:
            raise ValueError("gpus is a fraction below 1, or a whole number")
        return self


class Budget(Frozen):
    """When to stop: no new trial starts beyond it.

    Attributes:
        trials: number of training runs, each a cell and a seed. hours: of wall time.
        cost: of all trials and evaluations of the sweep together, earlier runs included, at the price.
        price: of an hour of one GPU or CPU.
    """

    trials: Count | None = None
    hours: Positive | None = None
    cost: Positive | None = None
    price: Price | None = None


class Failures(Frozen):
    """How many failures are borne, by their class; see ``docs/sweep-file.md`` for what is done about each.

    Attributes:
        retries: how often a trial starts again, from its checkpoint, whose process died or whose node broke.
        lost: how often one starts again that lost its node or was preempted.
        node: failures of a node in a row after which nothing is started there; 0 never leaves one out.
        same_error: trials that fail with one error, while no more come to an end, after which the sweep
            ends; 0 never ends it.
        minutes: that a trial may take at one go; it is a failure then.
    """

    retries: Whole = 2
    lost: Whole = 20
    node: Whole = 3
    same_error: Whole = 3
    minutes: Positive | None = None


class Report(Frozen):
    """One report: a grid over two axes, a curve over one, or a table of the named points."""

    grid: tuple[str, str] | None = Field(None, description="two axes: x (columns), then y (rows)")
    curve: str | None = Field(None, description="the axis along the curve, of numbers")
    table: Literal["points"] | None = Field(None, description="a row for each named point")
    metric: MetricName | None = Field(None, description="in place of the sweep's metric")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(kind is not None for kind in (self.grid, self.curve, self.table)) != 1:
            raise ValueError("exactly one of {grid: [x, y]}, {curve: axis}, {table: points}")
        return self

    @field_validator("grid")
    @classmethod
    def _two_axes(cls, grid: tuple[str, str] | None) -> tuple[str, str] | None:
        if grid is not None and grid[0] == grid[1]:
            raise ValueError("two different axes")
        return grid

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that it is drawn over."""
        return self.grid or ((self.curve,) if self.curve else ())
