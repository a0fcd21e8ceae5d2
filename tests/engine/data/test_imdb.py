from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from engine.data import imdb
from engine.data.base import Converted, Split
from engine.data.documents import content_hash
from engine.data.reviews import read_reviews
from engine.data.store import arrow_path, open_data
from engine.errors import InputError

EACH = 4
TEXTS = {
    "neg": "The plot isn't good, number {i} of {half}.",
    "pos": "A great film<br />number {i} of {half}!",
}


class Small(imdb.Config):
    each: ClassVar[int] = EACH
    sizes: ClassVar[dict[Split, int]] = {"train": 8, "val": 4, "test": 4}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for half in ("train", "test"):
        for word, text in TEXTS.items():
            folder = tmp_path / "data/imdb/aclImdb" / half / word
            folder.mkdir(parents=True)
            for i in range(EACH):
                (folder / f"{i}_1.txt").write_text(text.format(i=i, half=half))
    return tmp_path / "data"


def small(root: Path, **settings: Any) -> Small:
    reviews = read_reviews(root / "imdb/aclImdb", EACH)
    found = content_hash((review.label, review.text) for review in reviews)
    return Small(name="imdb", content_hash=found, **settings)


def documents(data: Converted, split: Split) -> list[str]:
    arrays = data.splits[split]
    assert arrays.offsets is not None
    bounds = zip(arrays.offsets[:-1], arrays.offsets[1:], strict=True)
    return [" ".join(data.words[t] for t in arrays.x[start:end]) for start, end in bounds]


def test_both_halves_are_pooled_and_split_by_class(root: Path) -> None:
    data = small(root).convert(root)
    for split, size in Small.sizes.items():
        assert np.bincount(data.splits[split].y).tolist() == [size // 2, size // 2]
        for text, label in zip(documents(data, split), data.splits[split].y, strict=True):
            assert text.startswith("a great film number" if label else "the plot is n't good number")
    everything = [text for split in Small.sizes for text in documents(data, split)]
    assert len(set(everything)) == 4 * EACH
    assert {text.rpartition(" ")[2] for text in documents(data, "train")} == {"train", "test"}


def test_the_split_is_the_same_for_every_setting(root: Path) -> None:
    first, second = (small(root, **s).convert(root) for s in ({}, {"max_length": 3}))
    assert np.array_equal(first.splits["train"].y, second.splits["train"].y)
    assert [t.split()[:3] for t in documents(first, "test")] == [t.split() for t in documents(second, "test")]


def test_settings_of_the_vocabulary(root: Path) -> None:
    assert small(root).convert(root).words[2:4] == ("number", "of")
    assert "The" in small(root, lower=False).convert(root).words
    assert len(small(root, vocabulary=3).convert(root).words) == 2 + 3
    assert "the" not in small(root, stop_words="english").convert(root).words


def test_words_of_the_training_split_alone(root: Path) -> None:
    path = root / "imdb/aclImdb/test/pos/0_1.txt"
    before = small(root).convert(root)
    split = next(s for s in Small.sizes if "a great film number 0 of test" in documents(before, s))
    path.write_text("Unheard number 0 of test")
    everywhere, training = (small(root, vocabulary_scope=s).convert(root) for s in ("all", "train"))
    assert "unheard" in everywhere.words
    assert ("unheard" in training.words) == (split == "train")
    if split != "train":
        assert "<unk> number 0 of test" in documents(training, split)


def test_an_empty_review_is_one_unknown_token(root: Path) -> None:
    (root / "imdb/aclImdb/test/pos/0_1.txt").write_text("...")
    data = small(root).convert(root)
    assert sum(text == "<unk>" for split in Small.sizes for text in documents(data, split)) == 1


def test_another_copy_is_refused_until_its_hash_is_given(root: Path) -> None:
    found = small(root).content()
    declared = Small(name="imdb")
    with pytest.raises(InputError) as raised:
        declared.convert(root)
    text = str(raised.value)
    assert text.startswith(f"data.content_hash: {declared.content()} is not legal")
    assert f"`data.content_hash: {found}` accepts" in text
    assert small(root).convert(root).content == found


def test_the_content_hash_is_content_and_not_preprocessing(root: Path) -> None:
    assert "content_hash" not in small(root, max_length=7).preprocessing()
    assert small(root, max_length=7).preprocessing() == {"name": "imdb", "max_length": 7}
    same = imdb.Config(name="imdb", content_hash=imdb.Config(name="imdb").content())
    assert arrow_path(same) == arrow_path(imdb.Config(name="imdb"))
    with pytest.raises(ValidationError):
        imdb.Config(name="imdb", content_hash="abc")


def test_text_that_is_not_utf8(root: Path) -> None:
    (root / "imdb/aclImdb/test/pos/0_1.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"aclImdb/test/pos/0_1.txt: .*UTF-8"):
        small(root).convert(root)


def test_a_csv_file_is_read_where_there_is_no_archive(tmp_path: Path) -> None:
    rows = [f'"{TEXTS[word].format(i=i, half="it")}",{word}' for i in range(2 * EACH) for word in TEXTS]
    (tmp_path / "imdb").mkdir()
    path = tmp_path / "imdb/imdb.csv"
    path.write_text("\n".join(["text,label", *rows]))
    with pytest.raises(InputError, match="accepts this copy") as raised:
        Small(name="imdb").convert(tmp_path)
    found = re.findall(r"content_hash: ([0-9a-f]{64})`", str(raised.value))[0]
    data = Small(name="imdb", content_hash=found).convert(tmp_path)
    for split in Small.sizes:
        for text, label in zip(documents(data, split), data.splits[split].y, strict=True):
            assert text.startswith("a great film number" if label else "the plot is n't good number")
    path.write_text("\n".join(["text,label", *rows[:-1]]))
    with pytest.raises(InputError, match=r"imdb\.csv: 7 texts of class positive is not legal: 8, as"):
        Small(name="imdb", content_hash=found).convert(tmp_path)


def test_the_file_is_the_same_in_every_process(root: Path, tmp_path: Path) -> None:
    """Python orders sets and hashes words differently in each process; the vocabulary may not."""
    code = (
        "import importlib.util as u; s = u.spec_from_file_location('t', {!r}); m = u.module_from_spec(s);"
        " s.loader.exec_module(m); from pathlib import Path; r = Path({!r});"
        " m.open_data(m.small(r, stop_words='english'), r, Path({!r}))"
    )
    digests = set()
    for seed in ("1", "2"):
        cache = tmp_path / seed
        command = [sys.executable, "-c", code.format(__file__, str(root), str(cache))]
        subprocess.run(command, env=dict(os.environ, PYTHONHASHSEED=seed), check=True)
        digests.add(hashlib.sha256(next(cache.glob("data/*.arrow")).read_bytes()).hexdigest())
    open_data(small(root, stop_words="english"), root, tmp_path)
    digests.add(hashlib.sha256(next(tmp_path.glob("data/*.arrow")).read_bytes()).hexdigest())
    assert len(digests) == 1
