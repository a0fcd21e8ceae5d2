"""What a data set is to the engine: settings, a content hash, arrays for three splits.

A data set is one file in this folder that exports ``Config``, a :class:`DataConfig`. It says where its
files are and how they become :class:`Arrays`; :mod:`engine.data.store` converts them once into a
memory-mapped Arrow file and :mod:`engine.data.examples` batches them on the device. Nothing here
imports torch, so that planning a sweep does not.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.settings import Count, Frozen

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class DataInfo:
    """What a model needs to know to be built.

    Attributes:
        kind: ``image`` (x_BCHW, float in ``range``) or ``text`` (token ids x_BT and lengths_B).
        classes: number of classes.
        sizes: number of examples of each split.
        shape: (C, H, W) of an image; () for text.
        vocabulary: number of token ids of a text, padding (0) and unknown (1) included; 0 for images
            and before the data are converted.
        range: the least and greatest value that a pixel can have; None for pixels without bounds (whitened
            ones), which no attack may clamp. Says nothing of texts.
    """

    kind: Literal["image", "text"]
    classes: int
    sizes: Mapping[Split, int] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    vocabulary: int = 0
    range: tuple[float, float] | None = (0.0, 1.0)


@dataclass(frozen=True)
class Arrays:
    """One split, on the host.

    Attributes:
        x: images (N, C, H, W), uint8 or, when whitened, float32; or for text all token ids in one row,
            int32 (sum of lengths,).
        y: labels int64 (N,).
        offsets: text only: int64 (N + 1,); document i is ``x[offsets[i]:offsets[i + 1]]``.
    """

    x: NDArray[np.uint8] | NDArray[np.float32] | NDArray[np.int32]
    y: NDArray[np.int64]
    offsets: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Converted:
    """All splits of a data set and what was learnt in converting them.

    Attributes:
        splits: the arrays of each split.
        info: as :meth:`DataConfig.info`, with the vocabulary filled in.
        scale: what a stored image value is divided by to lie in [0, 1] (16 for digits, 255 for bytes).
        content: SHA-256 of the published content that was read (:meth:`DataConfig.content`).
        words: text only: the word of each token id.
    """

    splits: dict[Split, Arrays]
    info: DataInfo
    content: str
    scale: float = 1.0
    words: tuple[str, ...] = ()


class DataConfig(Frozen):
    """Settings of a data set, all of them part of a trial's key.

    Attributes:
        name: the data set (the name of its file).
        train_size: how many training examples are used: nested stratified subsets, drawn by the
            trial's seed and the same for every method; None uses all.
        labelled: how many of these keep their labels: equally many of each class (to within one), nested,
            drawn by the trial's seed; the others are unlabelled. None keeps all labels.
        unlabelled: with ``labelled``, what is learnt from without labels: the ``rest`` (59,000 of MNIST's
            60,000 images beside 1,000 labels in the text of Adversarial Dropout), or ``all``, those with
            labels as well (the released code of Virtual Adversarial Training).
    """

    version: ClassVar[int] = 1
    """Version of the preprocessing; raising it changes every key that uses the data set."""

    choices: ClassVar[frozenset[str]] = frozenset({"train_size", "labelled", "unlabelled"})
    """Settings that choose among the converted examples, or add to them; a conversion ignores them."""

    source: ClassVar[str] = ""
    """For files that are fetched by hand: where they are, and where they go below the data folder."""

    name: str
    train_size: Count | None = None
    labelled: Count | None = None
    unlabelled: Literal["rest", "all"] = "rest"

    @abstractmethod
    def info(self) -> DataInfo:
        """Kind, shape and classes, known without reading any file."""

    @abstractmethod
    def content(self) -> str:
        """SHA-256 of the published content, as declared; checked when the files are read."""

    @property
    def has_unlabelled(self) -> bool:
        """Whether there are training examples beside the labelled ones."""
        return self.labelled is not None

    def missing(self, root: Path | None) -> list[str]:
        """What is not on this machine, as names to show; empty when ``convert`` can run.

        Args:
            root: the data folder (``PERTURB_DATA``), None when it is not set.
        """
        return []

    def download(self, root: Path) -> None:
        """Fetch the published files into the data folder.

        Raises:
            InputError: they have to be fetched by hand; says from where.
            OSError, RuntimeError: the download failed.
        """
        how = self.source or f"put these files there: {', '.join(self.missing(root))}"
        legal = f"a data set that can be downloaded; for this one, {how} ({root})"
        raise InputError("data.name", repr(self.name), legal)

    @abstractmethod
    def convert(self, root: Path | None) -> Converted:
        """Read the published files into arrays.

        Raises:
            DataMissing: files are not there.
            InputError: a file is corrupt or not the one that was published; it names the file.
        """

    def preprocessing(self) -> dict[str, object]:
        """The settings that change the converted arrays: all but the :attr:`choices`."""
        return self.model_dump(mode="json", exclude=set(self.choices), exclude_defaults=True)

    def selection(self) -> dict[str, object]:
        """The :attr:`choices` as a trial's key holds them; those that change nothing are left out."""
        form: dict[str, object] = {}
        if self.train_size is not None and self.train_size != self.info().sizes.get("train"):
            form["train_size"] = self.train_size
        if self.labelled is not None:
            form["labelled"] = self.labelled
            if self.unlabelled != "rest":
                form["unlabelled"] = self.unlabelled
        return form

    def whole(self) -> Self:
        """The data set without any choice: every example that is converted."""
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in self.choices})
