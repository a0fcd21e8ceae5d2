"""What the data sets of labelled texts share: settings, where files are looked for, split and vocabulary."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from engine.data.base import Arrays, Converted, DataConfig, DataInfo, Split
from engine.data.subset import stratified_order
from engine.data.table import Document
from engine.data.text import encode, tokenize, vocabulary
from engine.errors import DataMissing, InputError
from engine.settings import Count, Flag


class DocumentsConfig(DataConfig):
    """Settings of a data set of labelled texts.

    Unless the source says otherwise the split is ours and fixed, whatever a trial's seed: the stratified
    order of seed ``split_seed`` over the texts in the order read, cut in three.

    Attributes:
        lower: lower-case letters.
        max_length: tokens of a text that are used, the first ones, counted without stop words.
        vocabulary: how many words have an id of their own, the most frequent ones; the others are unknown.
        vocabulary_scope: whose words are counted: ``all`` three splits (DropAttack's code), or ``train``.
            A ``train_size`` does not change it, so that the points of a curve share one vocabulary.
        stop_words: ``english`` leaves out scikit-learn's English stop words; ``none`` leaves out none.
            DropAttack's code uses nltk's list, which is a download of its own and is not offered. "n't"
            and "'s" are words here and are on neither list.
        content_hash: SHA-256 of another copy of the texts to accept in place of the declared one.
        sizes: of the splits. classes: their names, in the order of their labels.
        declared: SHA-256 of the published content. source: where to get it and where to put it.
    """

    sizes: ClassVar[dict[Split, int]]
    split_seed: ClassVar[int] = 0
    classes: ClassVar[tuple[str, ...]]
    declared: ClassVar[str]
    source: ClassVar[str]

    lower: Flag = True
    max_length: Count = 256
    vocabulary: Count = 250_000
    vocabulary_scope: Literal["all", "train"] = "all"
    stop_words: Literal["none", "english"] = "none"
    content_hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None

    @abstractmethod
    def places(self) -> tuple[tuple[str, ...], ...]:
        """For each file or folder needed, the paths below the data folder where it may be, in this order."""

    @abstractmethod
    def read(self, paths: list[Path]) -> tuple[list[Document], str]:
        """The documents of the files found, and the SHA-256 of their content.

        Raises:
            InputError: a file is corrupt; it names the file.
        """

    def info(self) -> DataInfo:
        """Text and its classes."""
        return DataInfo("text", classes=len(self.classes), sizes=self.sizes)

    def content(self) -> str:
        """SHA-256 of the texts, as declared or as given in ``content_hash``."""
        return self.content_hash or self.declared

    def preprocessing(self) -> dict[str, object]:
        """The settings that change the arrays; ``content_hash`` is in :meth:`content` already."""
        return {key: value for key, value in super().preprocessing().items() if key != "content_hash"}

    def missing(self, root: Path | None) -> list[str]:
        """Each file that is in none of the places looked in."""
        shown = Path("$PERTURB_DATA" if root is None else root)
        return [str(shown / places[0]) for places in self.places() if _first(root, places) is None]

    def convert(self, root: Path | None) -> Converted:
        """Read, check, tokenise and split the texts."""
        documents = self._checked(root)
        labels = np.array([document.label for document in documents], dtype=np.int64)
        tokens = tokenize((document.text for document in documents), self.lower, self._stop_words())
        parts = [np.sort(part) for part in self.parts(labels)]
        counted = np.isin(np.arange(len(labels)), parts[0]) if self.vocabulary_scope == "train" else None
        words = vocabulary(tokens, self.vocabulary, counted)
        x, offsets = encode(tokens, words, self.max_length)
        info = self.info()
        splits: dict[Split, Arrays] = {}
        for split, rows in zip(info.sizes, parts, strict=True):
            texts = [x[offsets[row] : offsets[row + 1]] for row in rows]
            ends = np.concatenate(([0], np.cumsum(np.diff(offsets)[rows]))).astype(np.int64)
            splits[split] = Arrays(np.concatenate(texts), labels[rows], ends)
        whole = DataInfo("text", classes=info.classes, sizes=info.sizes, vocabulary=len(words))
        return Converted(splits, whole, self.content(), words=words)

    def parts(self, labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Rows of the training, validation and test split."""
        sizes = self.info().sizes
        cuts = np.cumsum([sizes["train"], sizes["val"]])
        return np.split(stratified_order(labels, self.split_seed), cuts)

    def _checked(self, root: Path | None) -> list[Document]:
        if self.missing(root):
            looked = ", ".join(str(root / place) for places in self.places() for place in places if root)
            legal = f"its files are missing ({looked or 'PERTURB_DATA is not set'}); {self.source}"
            raise DataMissing("data.name", repr(self.name), f"{legal}, or set PERTURB_DATA")
        paths = [path for places in self.places() if (path := _first(root, places)) is not None]
        documents, found = self.read(paths)
        if found != self.content():
            where = " and ".join(map(str, paths))
            legal = f"the texts in {where} have {found}; `data.content_hash: {found}` accepts this copy"
            raise InputError("data.content_hash", self.content(), legal)
        return documents

    def _stop_words(self) -> frozenset[str]:
        if self.stop_words == "none":
            return frozenset()
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        return frozenset(ENGLISH_STOP_WORDS)


def content_hash(documents: Iterable[tuple[int, bytes]]) -> str:
    """SHA-256 over texts in their order: for each ``<label> <bytes>``, a line feed, and its text."""
    digest = hashlib.sha256()
    for label, text in documents:
        digest.update(b"%d %d\n" % (label, len(text)))
        digest.update(text)
    return digest.hexdigest()


def decoded(where: str, text: bytes) -> str:
    """The text of a file of UTF-8.

    Raises:
        InputError: it is not UTF-8; ``where`` names the file.
    """
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(where, f"text with {error}", "UTF-8; fetch it again") from error


def _first(root: Path | None, places: tuple[str, ...]) -> Path | None:
    return next((root / place for place in places if (root / place).exists()), None) if root else None
