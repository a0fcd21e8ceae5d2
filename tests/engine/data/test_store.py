from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from engine import components
from engine.components import find, load_plugin
from engine.data import store
from engine.data.base import Arrays, Converted, DataConfig, DataInfo
from engine.data.store import arrow_path, missing, open_data

X = np.arange(5 * 3 * 2 * 2, dtype=np.uint8).reshape(5, 3, 2, 2)


class Fake(DataConfig):
    """Two splits of images; counts its conversions."""

    conversions: ClassVar[list[Path | None]] = []

    shift: int = 0

    def info(self) -> DataInfo:
        return DataInfo("image", classes=2, sizes={"train": 3, "test": 2}, shape=(3, 2, 2))

    def content(self) -> str:
        return "c" * 64

    def missing(self, root: Path | None) -> list[str]:
        return ["fake.bin"]

    def convert(self, root: Path | None) -> Converted:
        self.conversions.append(root)
        train, test = Arrays(X[:3], np.array([0, 1, 1])), Arrays(X[3:], np.array([1, 0]))
        return Converted({"train": train, "test": test}, self.info(), self.content(), scale=59.0)


class FakeText(Fake):
    def convert(self, root: Path | None) -> Converted:
        tokens = Arrays(np.array([2, 3, 1], np.int32), np.array([0, 1]), np.array([0, 2, 3]))
        info = DataInfo("text", classes=2, sizes={"train": 2}, vocabulary=4)
        words = ("<pad>", "<unk>", "a", "\u00e9t\u00e9")
        return Converted({"train": tokens}, info, self.content(), words=words)


FAKE = Fake(name="fake")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Fake.conversions.clear()


def same(left: Converted, right: Converted) -> bool:
    if (left.info, left.content, left.scale, left.words) != (
        right.info,
        right.content,
        right.scale,
        right.words,
    ):
        return False
    return left.splits.keys() == right.splits.keys() and all(
        np.array_equal(a.x, b.x) and a.x.dtype == b.x.dtype and np.array_equal(a.y, b.y)
        for a, b in ((left.splits[s], right.splits[s]) for s in left.splits)
    )


@pytest.mark.parametrize("config", [FAKE, FakeText(name="fake_text")], ids=lambda c: c.name)
def test_what_is_opened_is_what_was_converted(config: Fake) -> None:
    assert same(open_data(config), config.convert(None))
    assert same(open_data(config), config.convert(None))


def test_offsets_and_words_of_texts() -> None:
    data = open_data(FakeText(name="fake_text"))
    offsets = data.splits["train"].offsets
    assert offsets is not None
    assert offsets.tolist() == [0, 2, 3]
    assert data.words[3] == "\u00e9t\u00e9"


def test_converted_once_and_then_mapped_read_only() -> None:
    open_data(FAKE)
    data = open_data(FAKE)
    assert len(Fake.conversions) == 1
    x = data.splits["train"].x
    assert not x.flags.writeable
    assert not x.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 0


def test_opening_allocates_no_memory_for_arrays() -> None:
    open_data(FAKE)
    before = pa.total_allocated_bytes()
    data = open_data(FAKE)
    assert pa.total_allocated_bytes() == before
    assert data.splits["train"].x.sum() == X[:3].sum()


def test_the_root_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTURB_DATA", str(tmp_path))
    open_data(FAKE)
    assert Fake.conversions == [tmp_path]


def test_the_name_depends_on_settings_but_not_on_train_size(monkeypatch: pytest.MonkeyPatch) -> None:
    path = arrow_path(FAKE)
    assert path.name.startswith("fake-")
    assert path.suffix == ".arrow"
    assert arrow_path(Fake(name="fake", train_size=2)) == path
    assert arrow_path(Fake(name="fake", shift=1)) != path
    monkeypatch.setattr(Fake, "version", 2)
    assert arrow_path(FAKE) != path


@pytest.mark.parametrize("damage", ["empty", "noise", "cut", "other", "no metadata", "no batch"])
def test_a_damaged_file_is_converted_again(damage: str) -> None:
    wanted = open_data(FAKE)
    path = arrow_path(FAKE)
    whole = path.read_bytes()
    path.unlink()
    if damage == "other":
        open_data(Fake(name="fake", shift=1))
        arrow_path(Fake(name="fake", shift=1)).rename(path)
    elif damage in ("no metadata", "no batch"):
        schema = pa.schema([("a", pa.int64())])
        with pa.ipc.new_file(str(path), schema) as writer:
            if damage == "no metadata":
                writer.write_batch(pa.record_batch({"a": [1]}, schema))
    else:
        path.write_bytes({"empty": b"", "noise": b"\xff" * 500, "cut": whole[: len(whole) - 40]}[damage])
    Fake.conversions.clear()
    assert same(open_data(FAKE), wanted)
    assert len(Fake.conversions) == 1
    assert path.read_bytes() == whole


def test_an_earlier_reader_keeps_its_data_when_the_file_is_replaced() -> None:
    early = open_data(FAKE)
    path = arrow_path(FAKE)
    path.unlink()
    open_data(FAKE)
    assert np.array_equal(early.splits["train"].x, X[:3])


def test_a_failed_conversion_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Fake, root: Path | None) -> Converted:
        raise RuntimeError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Fake, "convert", fail)
        with pytest.raises(RuntimeError):
            open_data(FAKE)
    assert not list(arrow_path(FAKE).parent.glob("*.arrow"))
    assert same(open_data(FAKE), FAKE.convert(None))


def test_nothing_is_missing_once_converted() -> None:
    assert missing(FAKE) == ["fake.bin"]
    open_data(FAKE)
    assert missing(FAKE) == []


def test_a_file_from_before_pixels_had_a_range_is_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_range(info: DataInfo) -> dict[str, object]:
        return {name: value for name, value in asdict(info).items() if name != "range"}

    with monkeypatch.context() as patch:
        patch.setattr(store, "asdict", without_range)
        open_data(FAKE)
    Fake.conversions.clear()
    assert open_data(FAKE).info.range == (0.0, 1.0)
    assert Fake.conversions == []


def test_whitened_pixels_are_floats_without_a_range() -> None:
    class Whitened(Fake):
        def convert(self, root: Path | None) -> Converted:
            x = np.linspace(-3, 3, 12, dtype=np.float32).reshape(1, 3, 2, 2)
            info = replace(self.info(), range=None)
            return Converted({"train": Arrays(x, np.array([0]))}, info, self.content())

    config = Whitened(name="fake")
    assert same(open_data(config), config.convert(None))
    assert open_data(config).info.range is None


PLUGIN = """
import time
from pathlib import Path
from typing import Literal
import numpy as np
from engine.data.base import Arrays, Converted, DataConfig, DataInfo

class Config(DataConfig):
    name: Literal["slow_plugin"]
    def info(self): return DataInfo("image", 2, {"train": 2}, (1, 1, 1))
    def content(self): return "p" * 64
    def convert(self, root):
        with (root / "log").open("a") as log:
            log.write("converted\\n")
        time.sleep(0.5)
        x = np.full((2, 1, 1, 1), VALUE, np.uint8)
        return Converted({"train": Arrays(x, np.array([0, 1]))}, self.info(), self.content())
"""


def test_two_processes_convert_once(tmp_path: Path, cache: Path) -> None:
    plugin = tmp_path / "slow_plugin.py"
    plugin.write_text(PLUGIN.replace("VALUE", "7"))
    code = textwrap.dedent(f"""
        from pathlib import Path
        from engine.components import find, load_plugin
        from engine.data.store import open_data
        load_plugin({str(plugin)!r})
        config = find("data", "slow_plugin", "data.name").model_validate({{"name": "slow_plugin"}})
        print(open_data(config, Path({str(tmp_path)!r}), Path({str(cache)!r})).splits["train"].x.tolist())
    """)
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)]
    outputs = {process.communicate(timeout=60)[0] for process in running}
    assert outputs == {b"[[[[7]]], [[[7]]]]\n"}
    assert (tmp_path / "log").read_text() == "converted\n"


def test_a_changed_plugin_is_converted_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "_plugins", {})
    seen = []
    for value in ("1", "2"):
        plugin = tmp_path / "slow_plugin.py"
        plugin.write_text(PLUGIN.replace("VALUE", value).replace("0.5", "0"))
        load_plugin(plugin)
        adapter: TypeAdapter[DataConfig] = TypeAdapter(find("data", "slow_plugin", "data.name"))
        config = adapter.validate_python({"name": "slow_plugin"})
        seen.append(int(open_data(config, tmp_path).splits["train"].x[0, 0, 0, 0]))
    assert seen == [1, 2]
