"""Texts to token ids: words in the style of the Penn Treebank, a vocabulary ordered by frequency."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PADDING, UNKNOWN = 0, 1
SPECIAL = ("<pad>", "<unk>")
"""What stands for token ids 0 (padding) and 1 (unknown) in a vocabulary; no text has these as words."""

# Letters and digits make words. "don't" is "do" and "n't", "it's" is "it" and "'s", as in word_tokenize of
# nltk and in the published GloVe vectors. The rest (punctuation, underscores) only separates.
_WORD = r"(?i:n't|'(?:s|m|d|re|ve|ll)\b|[^\W_]+(?=n't)|[^\W_]+)"
_LINE_BREAK = r"(?i:<br\s*/?>)"


@dataclass(frozen=True)
class Tokens:
    """Tokenised documents.

    Attributes:
        ids: all tokens in one row, as numbers of ``words``, int32 (sum of lengths,).
        offsets: document i is ``ids[offsets[i]:offsets[i + 1]]``, int64 (N + 1,).
        words: every word, in the order of its first appearance; number 0 is the unknown token, the only
            one of a document that has no word.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    words: tuple[str, ...]


def tokenize(texts: Iterable[str], lower: bool = True, stop_words: frozenset[str] = frozenset()) -> Tokens:
    """Cut texts into words; punctuation and HTML line breaks are removed.

    Args:
        texts: the documents.
        lower: whether to turn letters into lower case.
        stop_words: words to leave out, in lower case; compared without case.

    >>> tokenize(["It isn't <br />well-made!", "..."]).words
    ('<unk>', 'it', 'is', "n't", 'well', 'made')
    """
    from tokenizers import Regex, normalizers, pre_tokenizers

    steps = [
        normalizers.Replace(Regex(_LINE_BREAK), " "),
        normalizers.Replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"),
    ]
    normalize = normalizers.Sequence(steps + [normalizers.Lowercase()] * lower).normalize_str
    cut = pre_tokenizers.Split(Regex(_WORD), "removed", invert=True).pre_tokenize_str
    numbers = {SPECIAL[UNKNOWN]: 0}
    ids, ends = array("i"), array("q", [0])
    for text in texts:
        words = [word for word, _ in cut(normalize(text))]
        if stop_words:
            words = [word for word in words if word.lower() not in stop_words]
        ids.extend([numbers.setdefault(word, len(numbers)) for word in words] or [0])
        ends.append(len(ids))
    return Tokens(np.array(ids, dtype=np.int32), np.array(ends, dtype=np.int64), tuple(numbers))


def vocabulary(tokens: Tokens, cap: int, documents: NDArray[np.bool_] | None = None) -> tuple[str, ...]:
    """The most frequent words, most frequent first, equal counts in the order of the alphabet.

    Args:
        tokens: tokenised documents.
        cap: how many words at most, :data:`SPECIAL` not counted.
        documents: whose words count, bool (N,); None counts all.

    Returns:
        :data:`SPECIAL` and the words; the place of a word is its token id.
    """
    ids = tokens.ids
    if documents is not None:
        ids = ids[np.repeat(documents, np.diff(tokens.offsets))]
    counts = np.bincount(ids, minlength=len(tokens.words)).tolist()
    found = [number for number in range(1, len(tokens.words)) if counts[number]]
    # The tie-break makes the vocabulary independent of the order in which words were met.
    found.sort(key=lambda number: (-counts[number], tokens.words[number]))
    return SPECIAL + tuple(tokens.words[number] for number in found[:cap])


def encode(
    tokens: Tokens, words: tuple[str, ...], max_length: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Token ids of all documents in one row, each cut to its first ``max_length`` tokens, and offsets.

    Args:
        tokens: tokenised documents.
        words: as :func:`vocabulary` returns it; words that are not in it become the unknown token.
        max_length: tokens of a document at most, >= 1.

    Returns:
        Token ids int32 (sum of lengths,), offsets int64 (N + 1,).
    """
    places = {word: place for place, word in enumerate(words)}
    ids = np.array([places.get(word, UNKNOWN) for word in tokens.words], dtype=np.int32)
    lengths = np.diff(tokens.offsets)
    place_in_document = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], lengths)
    offsets = np.concatenate(([0], np.cumsum(np.minimum(lengths, max_length)))).astype(np.int64)
    return ids[tokens.ids[place_in_document < max_length]], offsets
