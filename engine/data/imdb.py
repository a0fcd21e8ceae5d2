"""IMDB: 50,000 film reviews, negative or positive."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from engine.data.base import Split
from engine.data.documents import DocumentsConfig, content_hash, decoded
from engine.data.reviews import read_reviews
from engine.data.table import Document, check_counts, read_csv

_LABELS = {"0": 0, "1": 1, "neg": 0, "pos": 1, "negative": 0, "positive": 1}


class Config(DocumentsConfig):
    """The labelled reviews of aclImdb, pooled and split anew as in DropAttack: 40,000 / 5,000 / 5,000.

    The paper's code pools both published halves; its split is not published. Ours is the stratified order
    of the reviews sorted by published path, cut in three. So accuracies compare with that paper and not
    with the official 25,000 / 25,000 split. 418 of the 50,000 texts repeat an earlier one; 83 of the 5,000
    test texts are also in another split.

    A csv file with the columns text and label (0, 1, neg, pos, negative or positive) is read too. Its
    order is another, so its split and hash are: give the hash in ``content_hash``.

    Attributes:
        each: reviews of each class in each published half.
        lower, max_length, vocabulary, vocabulary_scope, stop_words, content_hash: as in
            :class:`engine.data.documents.DocumentsConfig`.

    Source: Maas et al. (ACL 2011), Learning word vectors for sentiment analysis; DropAttack, Table 1.
    """

    each: ClassVar[int] = 12_500
    sizes: ClassVar[dict[Split, int]] = {"train": 40_000, "val": 5_000, "test": 5_000}
    classes: ClassVar[tuple[str, ...]] = ("negative", "positive")
    declared: ClassVar[str] = "47abbf9bb5841e384e44ca6306f58a33e3be0b335b4ef5a364a68b4b6489740a"
    source: ClassVar[str] = (
        "download aclImdb_v1.tar.gz from https://ai.stanford.edu/~amaas/data/sentiment/ and put it, as it"
        " is or unpacked, into the folder imdb of the data folder"
    )

    name: Literal["imdb"]

    def places(self) -> tuple[tuple[str, ...], ...]:
        """The archive, the folder in it, or a csv file."""
        archives = ("imdb/aclImdb_v1.tar.gz", "imdb/aclImdb_labelled.tar.gz", "aclImdb_v1.tar.gz")
        return ((*archives, "imdb/aclImdb", "aclImdb", "imdb/imdb.csv"),)

    def read(self, paths: list[Path]) -> tuple[list[Document], str]:
        """The reviews, sorted by published path (a csv file's in its order)."""
        (path,) = paths
        if path.suffix == ".csv":
            documents = read_csv(path, _LABELS)
            check_counts(path, documents, self.classes, 2 * self.each)
            return documents, content_hash((label, text.encode()) for label, text in documents)
        reviews = read_reviews(path, self.each)
        found = content_hash((review.label, review.text) for review in reviews)
        return [Document(r.label, decoded(f"aclImdb/{r.path}", r.text)) for r in reviews], found
