"""A trial: everything that decides what one training run computes, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    SerializeAsAny,
    field_validator,
    model_validator,
)

from engine.components import find
from engine.data.base import DataConfig
from engine.errors import InputError, did_you_mean
from engine.methods.base import Composition, Preset
from engine.models.base import ModelInfo
from engine.models.catalog import describe
from engine.settings import Count, Frozen, NonNegative, Positive, Probability, Whole
from engine.slots.check import check
from engine.slots.slots import Slots

Keep = Literal["none", "best", "last", "both"]
"""Which weights of a finished trial stay; no part of its key."""


class Adam(Frozen):
    """Adam (Kingma and Ba 2015); ``weight_decay`` is an L2 term in the gradient."""

    name: Literal["adam"]
    lr: Positive = 1e-3
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0

    @model_validator(mode="after")
    def _betas_are_below_one(self) -> Self:
        if max(self.betas) == 1:
            raise InputError("optimizer.betas", self.betas, "two numbers >= 0 and below 1")
        return self


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: Literal["adamw"]  # type: ignore[assignment]
    weight_decay: NonNegative = 1e-2


class SGD(Frozen):
    """Stochastic gradient descent; ``weight_decay`` is an L2 term in the gradient."""

    name: Literal["sgd"]
    lr: Positive = 0.1
    momentum: Probability = 0.0
    nesterov: bool = False
    weight_decay: NonNegative = 0.0

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise InputError("optimizer.nesterov", True, "false, or true with a momentum > 0")
        return self


OPTIMIZERS: dict[str, type[Adam] | type[AdamW] | type[SGD]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}


class Init(Frozen):
    """Start from the weights of another trial, the parent, which has the same seed.

    Attributes:
        from_: settings in which the parent differs from this trial, by dotted name, e.g.
            ``{method: standard}``; the parent itself starts afresh unless they give it an ``init``.
        checkpoint: which of the parent's checkpoints.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    from_: dict[str, Any] = Field(alias="from")
    checkpoint: Literal["best", "last"] = "best"


def _named(value: Any, where: str) -> dict[str, Any]:
    """A component as a mapping: ``digits`` is short for ``{name: digits}``."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Frozen):
        return value.model_dump()
    if not isinstance(value, Mapping):
        raise InputError(where, repr(value), "a name, or a mapping with a name and settings")
    return dict(value)


def _data(value: Any) -> Any:
    if isinstance(value, DataConfig):
        return value
    settings = _named(value, "data")
    found = find("data", settings.get("name"), "data.name")
    return found.model_validate(settings)  # type: ignore[attr-defined]


def _model(value: Any) -> dict[str, Any]:
    return describe(_named(value, "model")).config


def _method(value: Any) -> Any:
    if isinstance(value, (Preset, Composition)):
        return value
    settings = _named(value, "method")
    if "name" not in settings:
        return Composition.model_validate(settings)
    found = find("methods", settings["name"], "method.name")
    return found.model_validate(settings)  # type: ignore[attr-defined]


def _optimizer(value: Any) -> Any:
    if isinstance(value, tuple(OPTIMIZERS.values())):
        return value
    settings = _named(value, "optimizer")
    name = settings.setdefault("name", "adam")
    if name not in OPTIMIZERS:
        raise InputError("optimizer.name", repr(name), did_you_mean(str(name), list(OPTIMIZERS)))
    return OPTIMIZERS[name].model_validate(settings)


class Trial(Frozen):
    """One training run: a cell of a sweep and a seed.

    Attributes:
        data: data set (see :mod:`engine.data`).
        model: settings of the model (see :mod:`engine.models`).
        method: preset or composition of slots (see :mod:`engine.methods`).
        optimizer: ``adam``, ``adamw`` or ``sgd`` and their settings.
        epochs: passes over the training examples.
        batch_size: global batch, over all workers of the trial.
        seed: seed of the weights, the data order, the subset and every mask.
        precision: arithmetic of the forward and backward passes.
        select: validation metric by which the best epoch is chosen.
        init: another trial to start from.

    >>> t = Trial.model_validate(dict(data="digits", model="lenet5_8x8", method="fgm"))
    >>> t.method.epsilon, t.slots.passes
    (1.0, 2)
    """

    data: Annotated[SerializeAsAny[InstanceOf[DataConfig]], BeforeValidator(_data)]
    model: Annotated[dict[str, Any], BeforeValidator(_model)]
    method: Annotated[SerializeAsAny[InstanceOf[Preset] | InstanceOf[Composition]], BeforeValidator(_method)]
    optimizer: Annotated[SerializeAsAny[InstanceOf[Adam] | InstanceOf[SGD]], BeforeValidator(_optimizer)] = (
        Adam(name="adam")
    )
    epochs: Count = 10
    batch_size: Count = 128
    seed: Whole = 0
    precision: Literal["float32"] = "float32"
    select: Literal["val.accuracy", "val.loss"] = "val.accuracy"
    init: Init | None = None

    @property
    def model_info(self) -> ModelInfo:
        """The model's parameter names and aliases."""
        return describe(self.model)

    @property
    def slots(self) -> Slots:
        """The method resolved on this model, in canonical form."""
        return self.method.slots(self.model_info).collapsed()

    def parent(self) -> Trial | None:
        """The trial whose weights this one starts from, None when it starts afresh."""
        if self.init is None:
            return None
        if "seed" in self.init.from_:
            raise InputError("init.from.seed", self.init.from_["seed"], "left out: it is the same")
        settings = self.model_dump() | {"init": None}
        for name, value in self.init.from_.items():
            override(settings, name, value)
        try:
            return Trial.model_validate(settings)
        except InputError as error:
            raise InputError(f"init.from.{error.name}", error.value, error.legal) from None

    @field_validator("data")
    @classmethod
    def _subset_fits(cls, data: DataConfig) -> DataConfig:
        size = data.info().sizes.get("train")
        if size is not None and data.train_size is not None and data.train_size > size:
            raise InputError("data.train_size", data.train_size, f"at most {size}, the training examples")
        if size is not None and data.labelled is not None:
            used = size if data.train_size is None else data.train_size
            if data.labelled > used:
                raise InputError("data.labelled", data.labelled, f"at most {used}, the training examples")
        return data

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Resolve what the parts say of each other, so that a bad trial fails before it starts."""
        self.model_info.check(self.data.info())
        check(self.slots, self.model_info, self.data.info())
        self.parent()
        return self


def override(settings: dict[str, Any], dotted: str, value: Any) -> None:
    """Set one value by its dotted name, in place; a component given by its name becomes a mapping.

    >>> s = {"method": "dropattack"}
    >>> override(s, "method.epsilon", 3); s
    {'method': {'name': 'dropattack', 'epsilon': 3}}

    Raises:
        InputError: a part of the name leads through a plain value.
    """
    *outer, last = dotted.split(".")
    place = settings
    for i, part in enumerate(outer):
        inner = place.get(part)
        inner = {} if inner is None else {"name": inner} if isinstance(inner, str) else inner
        if not isinstance(inner, Mapping):
            name = ".".join(outer[: i + 1])
            raise InputError(dotted, repr(value), f"{name} is {inner!r}, which has no settings of its own")
        place[part] = inner = dict(inner)
        place = inner
    place[last] = value
