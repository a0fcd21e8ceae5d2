from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.data.base import DataInfo
from engine.errors import InputError
from engine.files import file_hash
from engine.models import catalog
from engine.models.base import ModelInfo
from engine.models.catalog import config, describe

INFO = ModelInfo(
    {},
    {"name": "net"},
    ("conv1.weight", "conv1.bias", "layers.0.weight"),
    {"conv1.w": "conv1.weight"},
    shape=(1, 8, 8),
)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, on disk and in memory."""
    monkeypatch.setenv("PERTURB_CACHE", str(tmp_path / "cache"))
    catalog._described.cache_clear()
    return tmp_path / "cache"


def test_a_description_is_kept_on_disk(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = describe({"name": "lenet5"})
    (path,) = (fresh / "models").iterdir()
    catalog._described.cache_clear()
    monkeypatch.setattr(catalog, "_ask", lambda settings: pytest.fail("asked again"))
    assert describe({"name": "lenet5"}) == first
    assert isinstance(describe({"name": "lenet5"}).parameters, tuple)
    assert list((fresh / "models").iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"{", b'{"config": 3}'])
def test_a_damaged_description_is_made_again(fresh: Path, content: bytes) -> None:
    first = describe({"name": "lenet5"})
    (path,) = (fresh / "models").iterdir()
    path.write_bytes(content)
    catalog._described.cache_clear()
    assert describe({"name": "lenet5"}) == first
    catalog._described.cache_clear()
    assert path.read_bytes() != content


def test_a_cache_that_cannot_be_written_costs_nothing_else(fresh: Path) -> None:
    fresh.write_text("a file where the folder should be")
    assert describe({"name": "lenet5"}).canonical == {"name": "lenet5"}


def test_describing_does_not_touch_the_generator(fresh: Path) -> None:
    import torch

    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    describe({"name": "lstm"})
    assert torch.equal(torch.rand(2), expected)


def test_wrong_settings(fresh: Path) -> None:
    with pytest.raises(InputError, match=r"model\.name: 'lenet' is not legal: did you mean 'lenet5'"):
        describe({"name": "lenet"})
    with pytest.raises(ValidationError, match="hidden"):
        describe({"name": "lstm", "hidden": 0})
    assert not fresh.exists(), "nothing is kept of what is wrong"


def test_vectors_stand_for_their_content(fresh: Path, tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("a 1 2\n")
    settings = {"name": "lstm", "embedding_dim": 2, "vectors": str(path)}
    first = describe(settings).canonical
    assert first == {"name": "lstm", "embedding_dim": 2, "vectors": file_hash(path)}
    moved = tmp_path / "moved.txt"
    path.rename(moved)
    assert describe({**settings, "vectors": str(moved)}).canonical == first, "not for their path"
    moved.write_text("a 1 3 \n")
    assert describe({**settings, "vectors": str(moved)}).canonical != first
    with pytest.raises(InputError, match=r"model\.vectors: .* a file that exists"):
        describe(settings)


def test_resolve() -> None:
    assert INFO.resolve("conv1.w", "x") == ("conv1.weight",)
    assert INFO.resolve("conv?.*", "x") == ("conv1.weight", "conv1.bias")
    assert INFO.resolve("*.weight", "x") == ("conv1.weight", "layers.0.weight")
    assert INFO.resolve("input", "x") == ("input",)
    with pytest.raises(
        InputError, match=r"method\.targets\.2: 'conv1\.v' is not legal: no parameter matches; did you"
    ):
        INFO.resolve("conv1.v", "method.targets.2")
    with pytest.raises(InputError, match="no parameter matches"):
        INFO.resolve("CONV1.*", "x")


def test_check() -> None:
    INFO.check(DataInfo("image", 10, shape=(1, 8, 8)))
    with pytest.raises(InputError, match="a model for text data; it takes image"):
        INFO.check(DataInfo("text", 2))
    with pytest.raises(InputError, match="a model for 3 x 32 x 32 images; it takes 1 x 8 x 8"):
        INFO.check(DataInfo("image", 10, shape=(3, 32, 32)))
    ModelInfo({}, {"name": "any"}, (), {}).check(DataInfo("image", 10, shape=(3, 32, 32)))


def test_config_is_the_models_own_class() -> None:
    assert type(config({"name": "lstm", "hidden": 3})).__module__ == "engine.models.lstm"
