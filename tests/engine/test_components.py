from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine import components
from engine.components import find, load_plugin, names, plugin_hash
from engine.config import Trial
from engine.errors import InputError
from engine.files import file_hash
from engine.identity import canonical, trial_key
from engine.train import train

METHOD = """
from typing import Literal
from engine.methods.base import Preset
from engine.slots.ascent import InputAscent
from engine.slots.slots import Slots

class Config(Preset):
    name: Literal["mine"]
    epsilon: float = 1.0

    def slots(self, model):
        return Slots(input=InputAscent(targets=("input",), epsilon={scale} * self.epsilon))
"""
MODEL = """
from typing import ClassVar, Literal
from torch import nn
from engine.models.base import ModelConfig

class Config(ModelConfig):
    aliases: ClassVar[dict[str, str]] = {"fc.w": "1.weight"}
    name: Literal["flat"]

    def build(self, data, words=()):
        return nn.Sequential(nn.Flatten(), nn.Linear(SIZE, data.classes))
"""
Make = Callable[..., Trial]


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[[str], Path]:
    def write(source: str) -> Path:
        path = tmp_path / "mine.py"
        path.write_text(source)
        return path

    return write


def method(scale: int = 1) -> str:
    return METHOD.format(scale=scale)


def test_what_is_shipped_is_found() -> None:
    assert {"dropattack", "fgm", "pgd", "standard", "at_awp", "trades", "vadd"} <= set(names("methods"))
    assert not {"base", "adversarial"} & set(names("methods")), "what they share is no method"
    models = {"lenet5", "lenet5_8x8", "lstm", "bilstm", "bigru", "textcnn", "vgg16", "wideresnet28_10"}
    assert models <= set(names("models"))
    assert not {"base", "image", "vgg", "wideresnet"} & set(names("models")), "what they share is no model"
    data = {"digits", "mnist", "fashion_mnist", "imdb", "ag_news", "pheme", "synthetic_text"}
    assert data <= set(names("data"))
    assert find("methods", "fgm", "x").__module__ == "engine.methods.fgm"


@pytest.mark.parametrize("name", ["digit", "base", "examples", "None", "", "../digits", "a.b"])
def test_an_unknown_name_lists_the_known(name: str) -> None:
    with pytest.raises(InputError, match=r"data\.name: .* known: .*digits.*mnist"):
        find("data", name, "data.name")


def test_a_method_of_the_users(plugin: Callable[[str], Path], make_trial: Make) -> None:
    path = plugin(method())
    assert load_plugin(path) == "mine"
    assert "mine" in names("methods")
    trial = make_trial(method={"name": "mine", "epsilon": 0.5})
    assert trial.slots == make_trial(method={"name": "fgm", "epsilon": 0.5}).slots
    assert train(trial).history == train(make_trial(method={"name": "fgm", "epsilon": 0.5})).history
    assert canonical(trial)["plugins"] == {"methods": file_hash(path)}
    assert "plugins" not in canonical(make_trial())


def test_a_model_of_the_users(plugin: Callable[[str], Path], make_trial: Make) -> None:
    path = plugin(MODEL.replace("SIZE", "64"))
    load_plugin(path)
    with pytest.raises(ValueError, match="it takes text"):
        make_trial(text=True, model="lstm", data="digits")
    trial = make_trial(model="flat", method={"name": "dropattack", "targets": ["input", "fc.w"]})
    assert trial.model_info.parameters == ("1.weight", "1.bias")
    assert train(trial).status == "completed"
    assert canonical(trial)["plugins"] == {"models": file_hash(path)}


def test_a_data_set_of_the_users(make_trial: Make) -> None:
    trial = make_trial(text=True, method={"name": "dropattack", "targets": ["input", "lstm.*"]})
    assert train(trial).status == "completed"
    assert set(canonical(trial)["plugins"]) == {"data"}
    assert plugin_hash("data", "toy_text") == canonical(trial)["plugins"]["data"]
    assert plugin_hash("data", "digits") is None


def test_a_changed_file_is_another_key(plugin: Callable[[str], Path], make_trial: Make) -> None:
    load_plugin(plugin(method()))
    before = make_trial(method="mine")
    key = trial_key(before)
    load_plugin(plugin(method(scale=2)))
    after = make_trial(method="mine")
    assert after.slots.input is not None
    assert after.slots.input.epsilon == 2.0, "it replaces the earlier one"
    assert trial_key(after) != key
    load_plugin(plugin(method()))
    assert trial_key(make_trial(method="mine")) == key


def test_a_change_of_a_model_changes_what_is_known_of_it(
    plugin: Callable[[str], Path], make_trial: Make
) -> None:
    load_plugin(plugin(MODEL.replace("SIZE", "64")))
    assert make_trial(model="flat").model_info.aliases == {"fc.w": "1.weight"}
    load_plugin(plugin(MODEL.replace("SIZE", "64").replace('"fc.w"', '"out.w"')))
    assert make_trial(model="flat").model_info.aliases == {"out.w": "1.weight"}


def test_the_same_content_is_loaded_once(plugin: Callable[[str], Path], tmp_path: Path) -> None:
    load_plugin(plugin(method()))
    first = find("methods", "mine", "x")
    copy = tmp_path / "elsewhere.py"
    copy.write_text(method())
    load_plugin(copy)
    assert find("methods", "mine", "x") is first


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("class Config(", "a file that imports .*SyntaxError"),
        ("import nowhere_to_be_found", "a file that imports .*nowhere_to_be_found"),
        ("x = 1", "a file that defines a class named Config"),
        ("Config = 3", "a file that defines a class named Config"),
        ("class Config: pass", "derived from DataConfig, ModelConfig, Preset"),
        (method().replace('Literal["mine"]', "str"), "a Config that says its name"),
        (method().replace('    name: Literal["mine"]\n', ""), "a Config that says its name"),
    ],
)
def test_a_broken_file_is_input(plugin: Callable[[str], Path], source: str, message: str) -> None:
    held = dict(components._plugins)
    path = plugin(source)
    for _ in range(2):  # a failed import leaves nothing behind
        with pytest.raises(InputError, match=f"plugins: .*mine.py is not legal: .*{message}") as caught:
            load_plugin(path)
        assert "\n" not in str(caught.value)
    assert components._plugins == held


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a Python file that exists"):
        load_plugin(tmp_path / "none.py")


def test_a_model_whose_alias_leads_nowhere(plugin: Callable[[str], Path], make_trial: Make) -> None:
    load_plugin(plugin(MODEL.replace("SIZE", "64").replace('"1.weight"', '"2.weight"')))
    with pytest.raises(ValueError, match=r"model\.aliases\.fc\.w: '2\.weight' is not legal"):
        make_trial(model="flat")
