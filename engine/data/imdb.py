"""IMDB: 50,000 film reviews, negative or positive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from engine.data.base import Arrays, Converted, DataConfig, DataInfo, Split
from engine.data.reviews import Review, content_hash, read_reviews
from engine.data.subset import stratified_order
from engine.data.text import encode, tokenize, vocabulary
from engine.errors import DataMissing, InputError
from engine.settings import Count, Flag

_CONTENT = "47abbf9bb5841e384e44ca6306f58a33e3be0b335b4ef5a364a68b4b6489740a"
_PLACES = (
    "imdb/aclImdb_labelled.tar.gz",
    "imdb/aclImdb_v1.tar.gz",
    "aclImdb_v1.tar.gz",
    "imdb/aclImdb",
    "aclImdb",
)


class Config(DataConfig):
    """The labelled reviews of aclImdb, pooled and split anew as in DropAttack: 40,000 / 5,000 / 5,000.

    The paper's code pools both published halves; its split is not published. Ours is fixed, whatever a
    trial's seed: the stratified order of seed ``split_seed`` over the reviews sorted by published path,
    cut in three. So accuracies compare with that paper and not with the official 25,000 / 25,000 split.
    418 of the 50,000 texts repeat an earlier one; 83 of the 5,000 test texts are also in another split.

    Attributes:
        lower: lower-case letters.
        max_length: tokens of a review that are used, the first ones, counted without stop words.
        vocabulary: how many words have an id of their own, the most frequent ones; the others are unknown.
        vocabulary_scope: whose words are counted: ``all`` three splits (the paper's code), or ``train``.
            A ``train_size`` does not change it, so that the points of a curve share one vocabulary.
        stop_words: ``english`` leaves out scikit-learn's English stop words; ``none`` leaves out none. The
            paper's code uses nltk's list, which is a download of its own and is not offered. "n't" and
            "'s" are words here and are on neither list.
        content_hash: SHA-256 of another copy of the reviews to accept in place of the declared one.

    Source: Maas et al. (ACL 2011), Learning word vectors for sentiment analysis; DropAttack, Table 1.
    """

    each: ClassVar[int] = 12_500
    sizes: ClassVar[dict[Split, int]] = {"train": 40_000, "val": 5_000, "test": 5_000}
    split_seed: ClassVar[int] = 0
    source: ClassVar[str] = (
        "download aclImdb_v1.tar.gz from https://ai.stanford.edu/~amaas/data/sentiment/ and put it, as it"
        " is or unpacked, into the folder imdb of the data folder"
    )

    name: Literal["imdb"]
    lower: Flag = True
    max_length: Count = 256
    vocabulary: Count = 250_000
    vocabulary_scope: Literal["all", "train"] = "all"
    stop_words: Literal["none", "english"] = "none"
    content_hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None

    def info(self) -> DataInfo:
        """Text with two classes, 0 negative and 1 positive."""
        return DataInfo("text", classes=2, sizes=self.sizes)

    def content(self) -> str:
        """SHA-256 of the reviews (:func:`engine.data.reviews.content_hash`)."""
        return self.content_hash or _CONTENT

    def preprocessing(self) -> dict[str, object]:
        """The settings that change the arrays; ``content_hash`` is in :meth:`content` already."""
        return {key: value for key, value in super().preprocessing().items() if key != "content_hash"}

    def missing(self, root: Path | None) -> list[str]:
        """The archive, when it is in none of the places looked in."""
        found = root is not None and any((root / place).exists() for place in _PLACES)
        return (
            [] if found else [str(Path("$PERTURB_DATA" if root is None else root) / "imdb/aclImdb_v1.tar.gz")]
        )

    def convert(self, root: Path | None) -> Converted:
        """Read, check, tokenise and split the reviews."""
        reviews = self._reviews(root)
        labels = np.array([review.label for review in reviews], dtype=np.int64)
        tokens = tokenize(map(_text, reviews), self.lower, self._stop_words())
        cuts = np.cumsum([self.sizes["train"], self.sizes["val"]])
        parts = [np.sort(part) for part in np.split(stratified_order(labels, self.split_seed), cuts)]
        counted = np.isin(np.arange(len(labels)), parts[0]) if self.vocabulary_scope == "train" else None
        words = vocabulary(tokens, self.vocabulary, counted)
        x, offsets = encode(tokens, words, self.max_length)
        splits: dict[Split, Arrays] = {}
        for split, rows in zip(self.sizes, parts, strict=True):
            documents = [x[offsets[row] : offsets[row + 1]] for row in rows]
            ends = np.concatenate(([0], np.cumsum(np.diff(offsets)[rows]))).astype(np.int64)
            splits[split] = Arrays(np.concatenate(documents), labels[rows], ends)
        info = DataInfo("text", classes=2, sizes=self.sizes, vocabulary=len(words))
        return Converted(splits, info, self.content(), words=words)

    def _reviews(self, root: Path | None) -> list[Review]:
        source = next((root / place for place in _PLACES if (root / place).exists()), None) if root else None
        if source is None:
            looked = ", ".join(str(root / place) for place in _PLACES) if root else "PERTURB_DATA is not set"
            legal = f"its files are missing ({looked}); {self.source}, or set PERTURB_DATA"
            raise DataMissing("data.name", repr(self.name), legal)
        reviews = read_reviews(source, self.each)
        found = content_hash(reviews)
        if found != self.content():
            legal = f"the reviews in {source} have {found}; `data.content_hash: {found}` accepts this copy"
            raise InputError("data.content_hash", self.content(), legal)
        return reviews

    def _stop_words(self) -> frozenset[str]:
        if self.stop_words == "none":
            return frozenset()
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        return frozenset(ENGLISH_STOP_WORDS)


def _text(review: Review) -> str:
    try:
        return review.text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"aclImdb/{review.path}", f"text with {error}", "UTF-8; fetch it again") from error
