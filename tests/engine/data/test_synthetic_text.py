"""The made-up texts: what they hold, that counts of words do not solve them, and that order does."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from engine.config import Trial
from engine.data.base import Converted, Split
from engine.data.synthetic_text import Config
from engine.train import train


def texts(data: Converted, split: Split) -> list[list[str]]:
    arrays = data.splits[split]
    assert arrays.offsets is not None
    return [[data.words[t] for t in part] for part in np.split(arrays.x, arrays.offsets[1:-1])]


@pytest.fixture(scope="module")
def data() -> Converted:
    return Config(name="synthetic_text").convert(None)


def side(word: str) -> str:
    return word.rstrip("0123456789")


def test_the_label_is_what_the_phrases_say(data: Converted) -> None:
    for split in data.splits:
        for words, label in zip(texts(data, split), data.splits[split].y, strict=True):
            assert 16 <= len(words) <= 32
            votes, found = [], [i for i, w in enumerate(words) if side(w) in ("positive", "negative")]
            for i in found:
                turned = i > 0 and words[i - 1] in data.words[2:6]
                votes.append((side(words[i]) == "positive") != turned)
            assert sorted(side(words[i]) for i in found) == ["negative", "positive"]
            assert votes == [bool(label)] * 2
            assert sum(w in data.words[2:6] for w in words) == 2


def test_classes_are_balanced_and_texts_differ(data: Converted) -> None:
    assert all(np.bincount(arrays.y).tolist() == [len(arrays.y) // 2] * 2 for arrays in data.splits.values())
    everything = [" ".join(words) for split in data.splits for words in texts(data, split)]
    assert len(set(everything)) == len(everything)


def test_the_texts_are_the_same_on_every_machine(data: Converted) -> None:
    digest = hashlib.sha256()
    for arrays in data.splits.values():
        assert arrays.offsets is not None
        digest.update(arrays.x.astype("<i4").tobytes() + arrays.y.astype("<i8").tobytes())
    assert digest.hexdigest() == "be97fee86024c10a63db4a32aa4bcc65ae404959dcf6f2dc40f98af96cdf9421"


def test_every_setting_gives_other_content_but_the_subset_does_not() -> None:
    changes: list[dict[str, Any]] = [
        {}, {"train": 100}, {"val": 10}, {"test": 10}, {"length": 20}, {"neutral": 9}, {"sentiment": 3},
        {"data_seed": 1},
    ]  # fmt: skip
    contents = [Config(name="synthetic_text", **change).content() for change in changes]
    assert len(set(contents)) == len(changes)
    assert Config(name="synthetic_text", train_size=50).content() == contents[0]
    a, b = (Config(name="synthetic_text", train=100, data_seed=seed).convert(None) for seed in (0, 2**40))
    assert texts(a, "train") != texts(b, "train")


@pytest.mark.parametrize(("setting", "value"), [("train", 3), ("length", 13), ("data_seed", -1)])
def test_settings_that_cannot_be(setting: str, value: int) -> None:
    with pytest.raises(ValidationError, match=setting):
        Config.model_validate({"name": "synthetic_text", setting: value})


def test_the_smallest_texts() -> None:
    small = Config(name="synthetic_text", train=50, val=10, test=10, length=14, neutral=1, sentiment=1)
    assert all(7 <= len(words) <= 14 for words in texts(small.convert(None), "train"))


@pytest.mark.parametrize("pairs", [False, True])
def test_counts_of_words_or_of_neighbours_do_not_solve_it(pairs: bool, data: Converted) -> None:
    def counts(split: Split) -> tuple[csr_matrix, Any]:
        arrays = data.splits[split]
        assert arrays.offsets is not None
        places, rows = arrays.x.astype(np.int64), np.repeat(np.arange(len(arrays.y)), np.diff(arrays.offsets))
        if pairs:  # neighbours without their order, neutral words as one
            kinds = np.where(places < 6, 0, np.where(places < 26, 1, np.where(places < 46, 2, 3)))
            low, high = np.minimum(kinds[:-1], kinds[1:]), np.maximum(kinds[:-1], kinds[1:])
            same = rows[:-1] == rows[1:]
            places, rows = (low * 4 + high)[same], rows[:-1][same]
        shape = (len(arrays.y), len(data.words))
        return csr_matrix((np.ones(len(places)), (rows, places)), shape=shape), arrays.y

    model = LogisticRegression(max_iter=300).fit(*counts("train"))
    assert model.score(*counts("test")) < 0.56


@pytest.mark.parametrize(
    ("model", "epochs"),
    [
        ({"name": "textcnn", "embedding_dim": 32, "filters": 32, "kernels": [2, 3]}, 4),
        ({"name": "lstm", "embedding_dim": 32, "hidden": 32}, 6),
    ],
)
def test_models_that_see_the_order_solve_it(model: dict[str, Any], epochs: int) -> None:
    settings = {"data": "synthetic_text", "model": model, "method": "standard", "epochs": epochs}
    optimizer = {"name": "adam", "lr": 3e-3}
    trial = Trial.model_validate({**settings, "batch_size": 64, "optimizer": optimizer})
    assert train(trial).best["test.accuracy"] > 0.9
