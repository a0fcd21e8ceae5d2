"""What a model is to the engine: settings, and readable names for its parameters.

Importing this module does not import torch; a model's own file does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.data.base import DataInfo
from engine.errors import InputError, did_you_mean
from engine.result import Result
from engine.settings import Frozen

if TYPE_CHECKING:
    from torch import nn

INPUT = "input"
"""The target that stands for the input tensor: pixels, or the embedded tokens of a text."""

WEIGHTS = "weights"
"""The target that stands for all weight matrices, filters and embeddings (:attr:`ModelInfo.weights`)."""

Shape = tuple[int | None, int | None, int | None]
"""(C, H, W) of an image; None in a place takes any."""

Task = Literal["classification", "reconstruction"]


class ModelConfig(Frozen):
    """Settings of a model, all of them part of a trial's key.

    Attributes:
        name: the model (the name of its file).
        aliases: the paper's names of the parameters, e.g. ``{"conv1.w": "conv1.weight"}``. The alias
            ``embedding`` names the parameter that stands for the input of a text model, a matrix that is
            used to look tokens up and for nothing else.
        kind: the kind of data that the model takes.
        shape: the (C, H, W) that an image model takes; None, as a whole or in a place, takes any.
        task: ``classification`` returns logits_BC; ``reconstruction`` returns the pixels again, flattened.
        training: called in place of :func:`engine.train.train`, with its arguments, by a sweep's trials of
            this model: what is no optimisation by steps, or a script that tests the orchestration.
    """

    aliases: ClassVar[dict[str, str]] = {}
    kind: ClassVar[Literal["image", "text"]] = "image"
    shape: ClassVar[Shape | None] = None
    task: ClassVar[Task] = "classification"
    training: ClassVar[Callable[..., Result] | None] = None

    name: str

    def known_as(self) -> dict[str, str]:
        """The aliases under these settings; all of ``aliases`` unless a model says otherwise."""
        return dict(self.aliases)

    def takes(self) -> Shape | None:
        """The images taken under these settings; ``shape`` unless a model says otherwise."""
        return self.shape

    def canonical(self) -> dict[str, Any]:
        """The part of a trial's key: what differs from the defaults, files as hashes of their content."""
        return {"name": self.name, **self.model_dump(mode="json", exclude_defaults=True)}

    @abstractmethod
    def build(self, data: DataInfo, words: tuple[str, ...] = ()) -> nn.Module:
        """The model, freshly initialised from torch's global generator.

        Its ``forward`` takes ``(x_BCHW)`` for images, ``(x_BT, lengths_B)`` for text, and returns
        logits_BC. A text model has a submodule ``embedding`` whose output is the embedded text.

        Args:
            data: what the data set says of itself, the vocabulary included.
            words: the word of each token id, for models that read word vectors from a file.
        """


@dataclass(frozen=True)
class ModelInfo:
    """A model as far as planning needs it; cached, so that planning need not import torch.

    Attributes:
        config: the validated settings, defaults included.
        canonical: the settings that differ from their defaults, and the name.
        parameters: names of all trainable parameters, in the model's order.
        aliases, kind, shape, task: as in :class:`ModelConfig`, under these settings.
        sites: names of its dropout sites (:mod:`engine.models.dropout`); rates: the p of each.
        weights: parameters of more than one dimension named "weight", which weight perturbations
            relative to the weights act on (the rule of AWP's released code).
    """

    config: dict[str, Any]
    canonical: dict[str, Any]
    parameters: tuple[str, ...]
    aliases: dict[str, str]
    kind: str = "image"
    shape: Shape | None = None
    sites: tuple[str, ...] = ()
    task: Task = "classification"
    weights: tuple[str, ...] = ()
    rates: tuple[float, ...] = ()

    def check(self, data: DataInfo) -> None:
        """Refuse data that the model cannot take.

        Raises:
            InputError: wrong kind of data, or wrong shape.
        """
        name = self.canonical["name"]
        if data.kind != self.kind:
            raise InputError("model.name", repr(name), f"a model for {data.kind} data; it takes {self.kind}")
        if self.shape is not None and not _fits(data.shape, self.shape):
            takes, given = (_written(s) for s in (self.shape, data.shape))
            raise InputError("model.name", repr(name), f"a model for {given} images; it takes {takes}")

    @property
    def input_parameter(self) -> str | None:
        """The parameter that stands for the input of a text model: its embedding matrix."""
        return self.aliases.get("embedding") if self.kind == "text" else None

    def resolve(self, pattern: str, where: str) -> tuple[str, ...]:
        """Parameter names that an alias or a glob pattern stands for.

        ``input`` stands for itself, ``weights`` for all of :attr:`weights`.

        >>> info = ModelInfo({}, {}, ("conv1.weight", "conv1.bias"), {"conv1.w": "conv1.weight"})
        >>> info.resolve("conv1.w", "targets"), info.resolve("conv?.*", "targets")
        (('conv1.weight',), ('conv1.weight', 'conv1.bias'))

        Raises:
            InputError: nothing matches.
        """
        if pattern == INPUT:
            return (INPUT,)
        if pattern == WEIGHTS:
            return self.weights
        wanted = self.aliases.get(pattern, pattern)
        found = tuple(name for name in self.parameters if fnmatchcase(name, wanted))
        if not found:
            known = [INPUT, *self.aliases, *self.parameters]
            raise InputError(where, repr(pattern), f"no parameter matches; {did_you_mean(pattern, known)}")
        return found


def _fits(given: tuple[int, ...], takes: Shape) -> bool:
    return len(given) == len(takes) and all(t in (None, g) for g, t in zip(given, takes, strict=True))


def _written(shape: tuple[int | None, ...]) -> str:
    return " x ".join("any" if size is None else str(size) for size in shape)
