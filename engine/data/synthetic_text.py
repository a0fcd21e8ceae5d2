"""A made-up sentiment task that needs the order of words; it needs no file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from engine.data.base import SPLITS, Arrays, Converted, DataConfig, DataInfo, Split
from engine.data.text import SPECIAL
from engine.settings import Count, Whole

_GENERATOR = 1  # raised when the same settings give other texts
_SETTINGS = {"train", "val", "test", "length", "neutral", "sentiment", "data_seed"}
_NEGATORS = ("not", "never", "hardly", "no")


class Config(DataConfig):
    """Texts of neutral words with two planted phrases that agree; label 1 is positive.

    One phrase is a word of the text's own sentiment and then a negator ("good not"), the other a negator
    and then a word of the opposite sentiment ("not bad"): a negator turns the word behind it. Both kinds
    of text have one positive word, one negative word and two negators, each drawn without regard to the
    label, and both words have a negator beside them. So counts of words say nothing of the label, nor does
    which words are neighbours: only their order does. The phrases come in random order at random places,
    with neutral words between them, whose frequencies fall as 1 / rank.

    The classes are balanced. Texts have between half of ``length`` and ``length`` words.

    Attributes:
        train, val, test: size of each split, an even number.
        length: words of the longest texts.
        neutral: how many neutral words there are. sentiment: how many of each sentiment.
        data_seed: which texts, whatever the trial's seed.

    >>> Config(name="synthetic_text").convert(None).words[2:8]
    ('not', 'never', 'hardly', 'no', 'positive0', 'positive1')
    """

    classes: ClassVar[tuple[str, ...]] = ("negative", "positive")

    name: Literal["synthetic_text"]
    train: Annotated[Count, Field(multiple_of=2)] = 4_000
    val: Annotated[Count, Field(multiple_of=2)] = 500
    test: Annotated[Count, Field(multiple_of=2)] = 1_000
    length: Annotated[int, Field(strict=True, ge=14)] = 32
    neutral: Count = 1_000
    sentiment: Count = 20
    data_seed: Whole = 0

    def info(self) -> DataInfo:
        """Text with two classes."""
        sizes: dict[Split, int] = {"train": self.train, "val": self.val, "test": self.test}
        return DataInfo("text", classes=2, sizes=sizes)

    def content(self) -> str:
        """SHA-256 of the settings and of the generator's version, which decide every text."""
        form = {"generator": _GENERATOR, **self.model_dump(mode="json", include=_SETTINGS)}
        return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()

    def convert(self, root: Path | None) -> Converted:
        """Draw the texts; ``root`` is not looked at."""
        # The stream of RandomState is frozen (NEP 19); SeedSequence takes seeds above 2**32.
        generator = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(self.data_seed)))
        sizes = self.info().sizes
        splits = {split: self._split(generator, sizes[split]) for split in SPLITS}
        words = self._words()
        info = DataInfo("text", classes=2, sizes=sizes, vocabulary=len(words))
        return Converted(splits, info, self.content(), words=words)

    def _words(self) -> tuple[str, ...]:
        sides = [f"{side}{i}" for side in ("positive", "negative") for i in range(self.sentiment)]
        return (*SPECIAL, *_NEGATORS, *sides, *(f"neutral{i}" for i in range(self.neutral)))

    def _split(self, generator: np.random.RandomState, size: int) -> Arrays:
        labels = generator.permutation(np.arange(size, dtype=np.int64) % 2)
        lengths = generator.randint(self.length // 2, self.length + 1, size, dtype=np.int64)
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        weights = np.cumsum(1 / np.arange(1, self.neutral + 1))
        drawn = np.searchsorted(weights, generator.random_sample(offsets[-1]) * weights[-1], side="right")
        first = len(SPECIAL) + len(_NEGATORS) + 2 * self.sentiment
        x = (first + np.minimum(drawn, self.neutral - 1)).astype(np.int32)
        for label, start, length in zip(labels, offsets, lengths, strict=False):
            self._plant(generator, x[start : start + length], int(label))
        return Arrays(x, labels, offsets)

    def _plant(self, generator: np.random.RandomState, text: NDArray[np.int32], label: int) -> None:
        """Write the two phrases into a text, with a neutral word between them and behind each."""
        first = len(SPECIAL)
        negators = first + generator.randint(len(_NEGATORS), size=2, dtype=np.int64)
        drawn = generator.randint(self.sentiment, size=2, dtype=np.int64)
        positive, negative = first + len(_NEGATORS) + drawn + [0, self.sentiment]
        own, other = (positive, negative) if label else (negative, positive)
        phrases = [[own, negators[0]], [negators[1], other]]
        # Two places among the words that are left, each phrase counted as one of three words.
        left, right = np.sort(generator.choice(len(text) - 4, size=2, replace=False))
        order = generator.permutation(2)
        for place, phrase in ((left, phrases[order[0]]), (right + 2, phrases[order[1]])):
            text[place : place + 2] = phrase
