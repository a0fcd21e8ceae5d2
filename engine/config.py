"""A trial: everything that decides what one training run computes, and nothing else."""

from __future__ import annotations

import re
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
from engine.data.augment_settings import Augment
from engine.data.base import DataConfig, DataInfo
from engine.errors import InputError, did_you_mean, named
from engine.evaluations.attacks import AttackConfig
from engine.evaluations.nested import OUTER, attack_of
from engine.methods.base import Composition, Preset
from engine.models.base import ModelInfo
from engine.models.catalog import describe
from engine.settings import Count, Flag, Frozen, NonNegative, Whole
from engine.slots.check import check
from engine.slots.slots import Slots
from engine.slots.weight import RandomRelative, Relative
from engine.update import OPTIMIZERS, SCHEDULES, SGD, Adam, Constant, Regularise, Schedule

Keep = Literal["none", "best", "last", "both", "all"]
"""Which weights of a finished trial stay; no part of its key. ``all`` adds those of ``best.NAME``."""


class Init(Frozen):
    """Start from another trial, the parent, which has the same seed.

    Attributes:
        from_: settings in which the parent differs from this trial, by dotted name, e.g.
            ``{method: standard}``; the parent itself starts afresh unless they give it an ``init``.
        checkpoint: which of the parent's checkpoints.
        use: take its ``weights`` (pre-training, then fine-tuning), or let it label the unlabelled examples
            and start afresh (``labels``, the pseudo-labels of RST).
        leave: parameters that are not taken over, as names or glob patterns (``fc.*``): a new head on a
            network that was pre-trained on other classes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    from_: dict[str, Any] = Field(alias="from")
    checkpoint: Literal["best", "last"] = "best"
    use: Literal["weights", "labels"] = "weights"
    leave: tuple[str, ...] = ()


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


def _chosen(value: Any, where: str, known: Mapping[str, type[Frozen]], default: str) -> Any:
    """One of a few settings classes, by name."""
    if isinstance(value, tuple(known.values())):
        return value
    settings = _named(value, where)
    name = settings.setdefault("name", default)
    if name not in known:
        raise InputError(f"{where}.name", repr(name), did_you_mean(str(name), list(known)))
    return known[name].model_validate(settings)


def _optimizer(value: Any) -> Any:
    return _chosen(value, "optimizer", OPTIMIZERS, "adam")


def _schedule(value: Any) -> Any:
    return _chosen(value, "schedule", SCHEDULES, "constant")


def _attacks(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise InputError("attacks", repr(value), "a mapping from a name of yours to an attack's settings")
    for label in value:
        if (
            not re.fullmatch("[A-Za-z0-9_-]+", str(label)) or label == "test"
        ):  # best.test is another checkpoint
            raise InputError("attacks", repr(label), "names of letters, digits, - and _; not test")
    outer = [name for name in OUTER if name != "examples"]
    return {label: attack_of(settings, f"attacks.{label}", outer) for label, settings in value.items()}


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
        precision: arithmetic of the forward and backward passes; parameters, norms and updates are
            float32 in all of them. fp16 scales the loss.
        select: validation metric by which the best epoch is chosen: ``val.accuracy``, ``val.loss``, or
            ``val.NAME.accuracy`` of one of the ``attacks``.
        init: another trial to start from.
        schedule: of the learning rate: ``constant``, ``piecewise``, ``cosine``, ``cyclic``, ``ramps``.
        regularise: penalties on the weights.
        augment: how training images are varied.
        mixup: alpha of mixup's Beta(alpha, alpha) (AWP's comparison: 1.4); 0 for none.
        patience: epochs without a better ``select`` after which training stops; 0 for never.
        unlabelled_batch: unlabelled or pseudo-labelled examples in each global batch, beside the
            ``batch_size`` labelled ones; None takes as many as there are labelled ones.
        steps_per_epoch: optimisation steps of an epoch; None goes once through the labelled examples.
        attacks: evaluations by attack made on validation after every epoch, and on test at the end, of all
            examples or of the first ``examples``.
        watch_test: make every epoch's evaluations on test as well, and keep the epoch that is best there,
            apart from the one that is chosen (AWP's tables choose on test).
        memory_format: of image networks; ``auto`` is channels_last on a CPU, where it is faster.
        compile: compile the network with torch.compile (images only).

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
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    select: str = "val.accuracy"
    init: Init | None = None
    schedule: Annotated[SerializeAsAny[InstanceOf[Schedule]], BeforeValidator(_schedule)] = Constant(
        name="constant"
    )
    regularise: Regularise = Regularise()
    augment: Augment = Augment()
    mixup: NonNegative = 0.0
    patience: Whole = 0
    unlabelled_batch: Count | None = None
    steps_per_epoch: Count | None = None
    attacks: Annotated[dict[str, SerializeAsAny[InstanceOf[AttackConfig]]], BeforeValidator(_attacks)] = (
        Field(default_factory=dict)
    )
    watch_test: Flag = False
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    compile: Flag = False

    @property
    def model_info(self) -> ModelInfo:
        """The model's parameter names and aliases."""
        return describe(self.model)

    @property
    def slots(self) -> Slots:
        """The method resolved on this model, in canonical form."""
        return self._settled(self.method.slots(self.model_info).collapsed())

    def _settled(self, slots: Slots) -> Slots:
        """Without what has no effect in this trial: weights that are never perturbed, or no decay."""
        weight = slots.weight
        if isinstance(weight, (Relative, RandomRelative)):
            if weight.warmup >= self.epochs:
                return slots.model_copy(update={"weight": None})
            if self.optimizer.weight_decay == 0:
                plain = weight.model_copy(update={"decay_at": "perturbed"})
                return slots.model_copy(update={"weight": plain})
        return slots

    @property
    def leaves(self) -> tuple[str, ...]:
        """Names of the parameters that are not taken over from the parent."""
        patterns = self.init.leave if self.init else ()
        return tuple(n for p in patterns for n in self.model_info.resolve(p, "init.leave"))

    @property
    def method_name(self) -> str:
        """Name of the preset; empty for a composition."""
        return str(getattr(self.method, "name", ""))

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
        data = self.data.info()
        check(self.slots, self.model_info, data)
        self.augment.check(data)
        if self.model_info.task == "reconstruction" and self.attacks:
            legal = "none: a model that reconstructs has no class to be wrong about"
            raise InputError("attacks", list(self.attacks), legal)
        for label, attacked in self.attacks.items():
            with named(f"attacks.{label}"):
                attacked.check(data, self.model_info)
        chosen = ["val.accuracy", "val.loss", *(f"val.{label}.accuracy" for label in self.attacks)]
        if self.model_info.task == "reconstruction":
            chosen = ["val.loss"]
        if self.select not in chosen:
            raise InputError("select", repr(self.select), f"one of {', '.join(chosen)}")
        if self.compile and self.model_info.kind == "text":
            # The compiler does not look at hooks set later: perturbed embeddings would be left out silently.
            raise InputError("compile", True, "false for text")
        self._mixup_fits(data)
        if self.init is not None and self.init.use == "labels" and not self.data.has_unlabelled:
            legal = "weights, or labels beside data.labelled or data.extra: there is nothing to label"
            raise InputError("init.use", "'labels'", legal)
        parent = self.parent()
        if parent is not None:
            self._takes_over(parent)
        return self

    def _takes_over(self, parent: Trial) -> None:
        """Refuse a parent whose weights do not fit the network; it also labels with them in this one."""
        mine, theirs = self.model_info, parent.model_info
        if mine.parameters != theirs.parameters:
            legal = f"a parent with the same model, {mine.canonical['name']} with these settings"
            raise InputError("init.from.model", theirs.canonical, legal)
        assert self.init is not None
        for i, pattern in enumerate(self.init.leave):
            if self.init.use == "labels":
                raise InputError("init.leave", list(self.init.leave), "none: the whole parent labels")
            mine.resolve(pattern, f"init.leave.{i}")
        classes = parent.data.info().classes
        other = mine.task == "classification" and classes != self.data.info().classes
        if other and not self.init.leave:
            legal = (
                f"a parent with the same number of classes, {self.data.info().classes}, or leave: its head"
            )
            raise InputError("init.from.data", f"{classes} classes", legal)

    def _mixup_fits(self, data: DataInfo) -> None:
        if not self.mixup:
            return
        if data.kind != "image" or self.model_info.task != "classification":
            raise InputError("mixup", self.mixup, "0: only images with classes are mixed")
        hard = [t.divergence for t in self.slots.objective.terms if t.divergence in ("margin", "mart")]
        if hard or self.slots.selection is not None:
            legal = "0 beside MART and adaptive adversarial training, which need one label an example"
            raise InputError("mixup", self.mixup, legal)
        if self.learns_unlabelled:
            raise InputError("mixup", self.mixup, "0 where unlabelled examples are learnt from")

    @property
    def learns_unlabelled(self) -> bool:
        """Whether the trial learns from examples without labels, or with pseudo-labels."""
        if not self.data.has_unlabelled:
            return False
        pseudo = getattr(self.data, "extra_labels", False) or (self.init and self.init.use == "labels")
        objective = self.slots.objective
        consistent = any(t.divergence in ("kl", "squared") for t in objective.terms)
        return bool(pseudo or consistent or objective.entropy)


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
