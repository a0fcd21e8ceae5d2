from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from engine.data import ag_news
from engine.data.base import Converted, Split
from engine.errors import DataMissing, InputError
from engine.files import data_root

TOPICS = ("war", "goal", "market", "planet")


class Small(ag_news.Config):
    each: ClassVar[dict[str, tuple[int, int]]] = {"full": (5, 2), "balanced_20k": (4, 2)}
    validation: ClassVar[dict[str, int]] = {"full": 8, "balanced_20k": 4}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "ag_news/ag_news_csv"
    folder.mkdir(parents=True)
    for half, each in (("train", 5), ("test", 2)):
        rows = [f'"{k + 1}","{half} {i}","A {t}\\news"' for i in range(each) for k, t in enumerate(TOPICS)]
        (folder / f"{half}.csv").write_text("\n".join(rows) + "\n")
    rows = [f"train {i} A {topic},{k}" for i in range(4) for k, topic in enumerate(TOPICS)]
    (tmp_path / "ag_news/train_balanced_20k.csv").write_text("\n".join(["text,label", *rows]))
    return tmp_path


def small(root: Path, **settings: Any) -> Small:
    full = settings.get("edition", "full") == "full"
    train = "ag_news_csv/train.csv" if full else "train_balanced_20k.csv"
    files = [root / "ag_news" / name for name in (train, "ag_news_csv/test.csv")]
    each = "".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
    return Small(name="ag_news", content_hash=hashlib.sha256(each.encode()).hexdigest(), **settings)


def documents(data: Converted, split: Split) -> list[str]:
    arrays = data.splits[split]
    assert arrays.offsets is not None
    bounds = zip(arrays.offsets[:-1], arrays.offsets[1:], strict=True)
    return [" ".join(data.words[t] for t in arrays.x[start:end]) for start, end in bounds]


@pytest.mark.parametrize("edition", ["full", "balanced_20k"])
def test_the_test_file_is_the_test_split(edition: str, root: Path) -> None:
    config = small(root, edition=edition)
    data = config.convert(root)
    sizes = {split: len(arrays.y) for split, arrays in data.splits.items()}
    assert sizes == dict(config.info().sizes) == data.info.sizes
    assert sizes["train"] == 12
    for split in sizes:
        texts, y = documents(data, split), data.splits[split].y
        assert np.bincount(y).tolist() == [sizes[split] // 4] * 4, "by class"
        for text, label in zip(texts, y, strict=True):
            half, number, a, topic = text.split()[:4]
            assert (half == "test") == (split == "test")
            assert (a, topic) == ("a", TOPICS[label])
            assert number.isdigit()


def test_a_line_break_written_as_a_backslash_only_separates(root: Path) -> None:
    assert all(text.endswith(" news") for text in documents(small(root).convert(root), "val"))


def test_sizes_of_the_papers_table() -> None:
    assert ag_news.Config(name="ag_news").info().sizes == {"train": 110_000, "val": 10_000, "test": 7_600}
    balanced = ag_news.Config(name="ag_news", edition="balanced_20k")
    assert balanced.info().sizes == {"train": 18_000, "val": 2_000, "test": 7_600}
    assert balanced.content() != ag_news.Config(name="ag_news").content()


def test_another_copy_is_refused_until_its_hash_is_given(root: Path) -> None:
    found = small(root).content()
    with pytest.raises(InputError, match=rf"data\.content_hash: .*`data.content_hash: {found}` accepts"):
        Small(name="ag_news").convert(root)


def test_a_mislabelled_or_truncated_file(root: Path) -> None:
    path = root / "ag_news/ag_news_csv/test.csv"
    config, whole = small(root), path.read_text()
    path.write_text(whole.replace('"4","test 1"', '"5","test 1"'))
    with pytest.raises(InputError, match=r"test\.csv: line 8: label '5' is not legal: one of 1, 2, 3, 4"):
        config.convert(root)
    path.write_text(whole[:-10])
    with pytest.raises(InputError, match=r"test\.csv: line 8: a row with unexpected end of data"):
        config.convert(root)
    path.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=r"test\.csv: 1 texts of class sci/tech is not legal: 2"):
        config.convert(root)


def test_each_missing_file_is_named(root: Path) -> None:
    (root / "ag_news/ag_news_csv/train.csv").unlink()
    config = Small(name="ag_news")
    assert config.missing(root) == [str(root / "ag_news/ag_news_csv/train.csv")]
    with pytest.raises(DataMissing, match="github"):
        config.convert(root)
    assert Small(name="ag_news", edition="balanced_20k").missing(root) == []


def test_the_declared_hashes_are_those_of_the_files_at_hand() -> None:
    root = data_root()
    balanced = ag_news.Config(name="ag_news", edition="balanced_20k")
    if root is None or balanced.missing(root):
        pytest.skip("ag_news is not in PERTURB_DATA")
    data = balanced.convert(root)
    assert data.content == balanced.content()
    first = " ".join(documents(data, "test")[0].split()[:6])
    assert (first, data.splits["test"].y[0]) == ("fears for t n pension after", 2)
