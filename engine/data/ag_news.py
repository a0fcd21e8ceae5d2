"""AG News: headlines and first sentences of news, four topics."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from engine.data.base import DataInfo, Split
from engine.data.documents import DocumentsConfig
from engine.data.subset import stratified_order
from engine.data.table import Document, check_counts, read_csv
from engine.files import file_hash

_PUBLISHED = {"1": 0, "2": 1, "3": 2, "4": 3}
_COLUMNS = ("label", "title", "description")
_BALANCED = "ag_news/train_balanced_20k.csv"
_HASHES = {
    "full": "76a0a2d2f92b286371fe4d4044640910a04a803fdd2538e0f3f29a5c6f6b672e",
    "balanced_20k": "480600fb3420721bffc6d3dd619fd434dd4c44d48a898ecf7da26579edc81de4",
}
_TEST = "521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699"


class Config(DocumentsConfig):
    """Four topics (world, sports, business, sci/tech); title and description joined by a space.

    The 7,600 published test texts are the test split. The published training texts are cut into training
    and validation split by their stratified order: 110,000 / 10,000 as in DropAttack, whose own choice is
    not published. The content hash is the SHA-256 over the SHA-256 of both files, the training file first.

    Attributes:
        edition: ``full`` reads the published train.csv (120,000 texts); ``balanced_20k`` a file of 20,000
            of its texts, 5,000 a class, with the columns text and label 0 ... 3, cut into 18,000 / 2,000.
        each: training and test texts of each class, by edition.
        lower, max_length, vocabulary, vocabulary_scope, stop_words, content_hash: as in
            :class:`engine.data.documents.DocumentsConfig`.

    Source: Zhang, Zhao and LeCun (NIPS 2015), Character-level convolutional networks for text
    classification; DropAttack, Table 1.
    """

    classes: ClassVar[tuple[str, ...]] = ("world", "sports", "business", "sci/tech")
    each: ClassVar[dict[str, tuple[int, int]]] = {"full": (30_000, 1_900), "balanced_20k": (5_000, 1_900)}
    validation: ClassVar[dict[str, int]] = {"full": 10_000, "balanced_20k": 2_000}
    source: ClassVar[str] = (
        "download train.csv and test.csv from"
        " https://github.com/mhjabreel/CharCnn_Keras/tree/master/data/ag_news_csv and put them into the"
        " folder ag_news/ag_news_csv of the data folder (edition balanced_20k: train_balanced_20k.csv, of"
        " the columns text and label, into the folder ag_news)"
    )

    name: Literal["ag_news"]
    edition: Literal["full", "balanced_20k"] = "full"

    def info(self) -> DataInfo:
        """Text with four classes."""
        train, test = (4 * each for each in self.each[self.edition])
        val = self.validation[self.edition]
        sizes: dict[Split, int] = {"train": train - val, "val": val, "test": test}
        return DataInfo("text", classes=4, sizes=sizes)

    def content(self) -> str:
        """SHA-256 over the SHA-256 of the training file and of the test file."""
        return self.content_hash or _combined(_HASHES[self.edition], _TEST)

    def places(self) -> tuple[tuple[str, ...], ...]:
        """The training file and the test file."""
        folders = ("ag_news/ag_news_csv", "ag_news", "ag_news_csv")
        train, test = (tuple(f"{folder}/{half}.csv" for folder in folders) for half in ("train", "test"))
        return (train if self.edition == "full" else (_BALANCED,), test)

    def read(self, paths: list[Path]) -> tuple[list[Document], str]:
        """The training texts, then the test texts, each as published."""
        halves = []
        for path, each in zip(paths, self.each[self.edition], strict=True):
            bare = path.name == Path(_BALANCED).name
            documents = read_csv(path, {str(i): i for i in range(4)}) if bare else _published(path)
            check_counts(path, documents, self.classes, each)
            halves.append(documents)
        return halves[0] + halves[1], _combined(*map(file_hash, paths))

    def parts(self, labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """The test file's rows are the test split."""
        sizes = self.info().sizes
        count = sizes["train"] + sizes["val"]
        order = stratified_order(labels[:count], self.split_seed)
        return [*np.split(order, [sizes["train"]]), np.arange(count, len(labels))]


def _published(path: Path) -> list[Document]:
    return read_csv(path, _PUBLISHED, _COLUMNS)


def _combined(train: str, test: str) -> str:
    return hashlib.sha256((train + test).encode()).hexdigest()
