from __future__ import annotations

import numpy as np
import pytest

from engine.data.text import PADDING, SPECIAL, UNKNOWN, encode, tokenize, vocabulary


def words_of(text: str, lower: bool = True, stop_words: frozenset[str] = frozenset()) -> list[str]:
    tokens = tokenize([text], lower, stop_words)
    return [tokens.words[number] for number in tokens.ids]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Good, BAD!", ["good", "bad"]),
        ("It isn't John's; I can't", ["it", "is", "n't", "john", "'s", "i", "ca", "n't"]),
        ("don\u2019t", ["do", "n't"]),
        ("'hello' _there_", ["hello", "there"]),
        ("one.<br /><br>two<BR/>three", ["one", "two", "three"]),
        ("well-made 10/10", ["well", "made", "10", "10"]),
        ("caf\u00e9 \u05d9\u05d2", ["caf\u00e9", "\u05d9\u05d2"]),
        (" ...!? ", ["<unk>"]),
        ("", ["<unk>"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_case_is_kept_on_request() -> None:
    assert words_of("It ISN'T", lower=False) == ["It", "IS", "N'T"]


def test_stop_words_are_compared_without_case() -> None:
    assert words_of("The film", lower=False, stop_words=frozenset({"the"})) == ["film"]
    assert words_of("the", stop_words=frozenset({"the"})) == ["<unk>"]


def test_the_most_frequent_words_come_first_and_ties_by_the_alphabet() -> None:
    tokens = tokenize(["b a c", "c d"])
    assert vocabulary(tokens, cap=10) == (*SPECIAL, "c", "a", "b", "d")
    assert vocabulary(tokens, cap=2) == (*SPECIAL, "c", "a")


def test_only_the_documents_asked_for_are_counted() -> None:
    tokens = tokenize(["b a", "c c", "b"])
    assert vocabulary(tokens, 10, np.array([True, False, True])) == (*SPECIAL, "b", "a")


def test_encoding_cuts_and_marks_unknown_words() -> None:
    tokens = tokenize(["a b c", "...", "d a"])
    x, offsets = encode(tokens, (*SPECIAL, "a", "c"), max_length=2)
    assert (PADDING, UNKNOWN) == (0, 1)
    assert offsets.tolist() == [0, 2, 3, 5]
    assert x.tolist() == [2, UNKNOWN, UNKNOWN, UNKNOWN, 2]
    assert x.dtype == np.int32
    assert offsets.dtype == np.int64
