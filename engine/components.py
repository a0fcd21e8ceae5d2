"""Data sets, models, methods and evaluations, found by name: one file each, exporting a class ``Config``.

``engine/data/mnist.py`` is the data set ``mnist``, ``engine/models/lenet5.py`` the model ``lenet5``,
``engine/methods/dropattack.py`` the method ``dropattack``. A user's own component is one such file
anywhere, registered with :func:`load_plugin`; its SHA-256 becomes part of the keys of the trials that
use it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pkgutil
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

from engine.errors import InputError, did_you_mean

Kind = Literal["data", "models", "methods", "evaluations"]

_plugins: dict[tuple[Kind, str], tuple[type, str]] = {}


def names(kind: Kind) -> list[str]:
    """All components of a kind, the user's own included."""
    package = importlib.import_module(f"engine.{kind}")
    shipped = [m.name for m in pkgutil.iter_modules(package.__path__) if _is_component(kind, m.name)]
    return sorted({*shipped, *(name for k, name in _plugins if k == kind)})


def find(kind: Kind, name: object, where: str) -> type:
    """The ``Config`` class of a component.

    Raises:
        InputError: no component has that name; ``where`` is the setting that asked for it.
    """
    if not isinstance(name, str):
        given = "no name" if name is None else repr(name)
        raise InputError(where, given, f"one of {', '.join(names(kind))}")
    if (kind, name) in _plugins:
        return _plugins[kind, name][0]
    if not name.isidentifier() or not _is_component(kind, name):
        raise InputError(where, repr(name), did_you_mean(name, names(kind)))
    config = importlib.import_module(f"engine.{kind}.{name}").Config
    assert isinstance(config, type)
    return config


def plugin_hash(kind: Kind, name: str) -> str | None:
    """SHA-256 of the user's file that defines this component; None for one of ours."""
    entry = _plugins.get((kind, name))
    return entry[1] if entry else None


def load_plugin(path: str | Path) -> str:
    """Register the component that a Python file exports as ``Config``; returns its name.

    Loading the same content twice is free, so that a warm worker pays once. A changed file replaces
    the earlier one.

    Raises:
        InputError: no such file, no ``Config`` in it, or one that is no data set, model, method or
            evaluation, or that has no name.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("plugins", path, "a Python file that exists")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    module_name = f"perturb_plugin_{digest[:16]}"
    module = sys.modules.get(module_name) or _import_file(path, module_name)
    config = getattr(module, "Config", None)
    if not isinstance(config, type):
        raise InputError("plugins", path, "a file that defines a class named Config")
    kind = _kind_of(config, path)
    names_ = get_args(config.model_fields["name"].annotation)  # type: ignore[attr-defined]
    if not names_:
        raise InputError("plugins", path, 'a Config that says its name: Literal["..."]')
    name = str(names_[0])
    _plugins[kind, name] = (config, digest)
    return name


@cache
def _is_component(kind: Kind, name: str) -> bool:
    """A module that defines ``Config``, told from its source, since importing a model costs torch."""
    spec = importlib.util.find_spec(f"engine.{kind}.{name}")
    if spec is None or spec.origin is None:
        return False
    return "\nclass Config(" in Path(spec.origin).read_text(encoding="utf-8")


def _import_file(path: Path, module_name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise InputError("plugins", path, f"a file that imports ({error!r})") from error
    return module


def _kind_of(config: type, path: Path) -> Kind:
    from engine.data.base import DataConfig
    from engine.evaluations.base import EvaluationConfig
    from engine.methods.base import Preset
    from engine.models.base import ModelConfig

    bases: dict[Kind, type] = {
        "data": DataConfig, "models": ModelConfig, "methods": Preset, "evaluations": EvaluationConfig,
    }  # fmt: skip
    for kind, base in bases.items():
        if issubclass(config, base):
            return kind
    raise InputError(
        "plugins", path, "a Config derived from DataConfig, ModelConfig, Preset or EvaluationConfig"
    )
