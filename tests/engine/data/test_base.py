"""What every data set promises, checked on every data set found (on real files where they are)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from engine.components import find, names
from engine.data.base import SPLITS, Converted, DataConfig
from engine.data.store import arrow_path, open_data
from engine.data.subset import subset
from engine.errors import DataMissing
from engine.files import data_root, file_hash

NAMES = names("data")
SLOW = ("imdb", "ag_news")
PARAMS = [
    *(pytest.param({"name": n}, id=n, marks=pytest.mark.slow if n in SLOW else ()) for n in NAMES),
    pytest.param({"name": "ag_news", "edition": "balanced_20k"}, id="ag_news-balanced_20k"),
]
DOWNLOADED = [name for name in NAMES if name not in ("digits", "synthetic_text")]


def config_of(name: str, **settings: Any) -> DataConfig:
    adapter: TypeAdapter[DataConfig] = TypeAdapter(find("data", name, "data.name"))
    return adapter.validate_python({"name": name, **settings})


@pytest.fixture(scope="module", params=PARAMS)
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[DataConfig, Path]:
    """A data set and the cache that it was converted into, once for all tests of this file."""
    config = config_of(**request.param)
    if config.missing(data_root()):
        pytest.skip(f"{config.name} is not in PERTURB_DATA")
    cache = tmp_path_factory.mktemp("converted")
    open_data(config, cache=cache)
    return config, cache


@pytest.fixture
def data(opened: tuple[DataConfig, Path]) -> Converted:
    return open_data(opened[0], root=Path("nowhere"), cache=opened[1])


def test_the_data_sets_of_the_issue_are_found() -> None:
    images = {"digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "svhn"}
    texts = {"imdb", "ag_news", "pheme", "synthetic_text"}
    assert images | texts <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_needs_its_name_and_declares_a_sha256(name: str) -> None:
    config = config_of(name)
    assert type(config).model_fields["name"].is_required()
    assert len(bytes.fromhex(config.content())) == 32
    assert tuple(config.info().sizes) == SPLITS


def test_settings_agree_with_what_was_converted(opened: tuple[DataConfig, Path], data: Converted) -> None:
    info = opened[0].info()
    assert data.content == opened[0].content()
    assert (data.info.kind, data.info.classes, data.info.shape) == (info.kind, info.classes, info.shape)
    assert data.info.sizes == info.sizes == {split: len(arrays.y) for split, arrays in data.splits.items()}
    assert tuple(data.splits) == SPLITS
    assert data.info.vocabulary == len(data.words)


def test_labels_are_classes_and_every_class_is_in_every_split(data: Converted) -> None:
    for arrays in data.splits.values():
        assert arrays.y.dtype == np.int64
        assert sorted(set(arrays.y.tolist())) == list(range(data.info.classes))


def test_images_lie_between_0_and_1_and_texts_are_token_ids(data: Converted) -> None:
    for split, arrays in data.splits.items():
        assert not arrays.x.flags.writeable
        if data.info.kind == "image":
            assert arrays.x.dtype == np.uint8
            assert arrays.x.shape == (data.info.sizes[split], *data.info.shape)
            assert arrays.x.max() == data.scale
        else:
            assert arrays.x.dtype == np.int32
            assert arrays.offsets is not None
            assert np.diff(arrays.offsets).min() >= 1
            assert arrays.x.min() >= 1
            assert arrays.x.max() < data.info.vocabulary


def test_converting_twice_gives_equal_bytes(opened: tuple[DataConfig, Path], tmp_path: Path) -> None:
    config, cache = opened
    open_data(config, cache=tmp_path)
    assert file_hash(arrow_path(config, tmp_path)) == file_hash(arrow_path(config, cache))


def test_training_subsets_are_nested(data: Converted) -> None:
    y = data.splits["train"].y
    small, large = (set(subset(y, size, seed=3).tolist()) for size in (100, 500))
    assert len(small) == 100
    assert len(large) == 500
    assert small < large


def test_one_file_for_every_train_size(opened: tuple[DataConfig, Path]) -> None:
    config, cache = opened
    chosen = {"train_size": 100, "labelled": 10, "unlabelled": "all"}
    assert arrow_path(config.model_copy(update=chosen), cache) == arrow_path(config, cache)
    assert config.model_copy(update=chosen).whole() == config


@pytest.mark.parametrize("name", DOWNLOADED)
@pytest.mark.usefixtures("no_data")
@pytest.mark.parametrize("rooted", [True, False])
def test_missing_files_are_named_and_what_to_do_is_said(name: str, rooted: bool, tmp_path: Path) -> None:
    config, root = config_of(name), tmp_path if rooted else None
    where = str(tmp_path) if rooted else "PERTURB_DATA is not set"
    assert config.missing(root)
    assert all(
        entry.startswith(str(tmp_path) if rooted else "$PERTURB_DATA") for entry in config.missing(root)
    )
    with pytest.raises(DataMissing, match=r"or set PERTURB_DATA$") as raised:
        open_data(config, root)
    assert where in str(raised.value)
    assert name in str(raised.value)


def test_finding_and_planning_imports_nothing_heavy() -> None:
    modules = ["engine.data.store", "engine.data.fetch", "engine.data.augment_settings"]
    modules += [f"engine.data.{name}" for name in NAMES]
    heavy = ["torch", "torchvision", "sklearn", "tokenizers", "pyarrow", "scipy"]
    code = f"import sys, {', '.join(modules)}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
