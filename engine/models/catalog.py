"""Models described without building them twice: settings checked, parameter names listed.

A sweep is planned from the names of a model's parameters. Asking the model costs an import of torch, so
the answer is kept in a small file, keyed by the model's settings and by the source of all our models.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from engine.components import find, plugin_hash
from engine.data.base import DataInfo
from engine.errors import InputError
from engine.files import cache_folder, write_atomic
from engine.models.base import ModelConfig, ModelInfo

_INFO = TypeAdapter(ModelInfo)


def describe(settings: dict[str, Any]) -> ModelInfo:
    """Check a model's settings and list its parameters.

    Raises:
        InputError: no model has that name, or a setting is not legal.
        pydantic.ValidationError: a setting has the wrong type or is unknown.
    """
    identity = json.dumps([settings, _sources(str(settings.get("name"))), _stats(settings)], default=str)
    return _described(identity, json.dumps(settings, default=str))


@cache
def _described(identity: str, settings: str) -> ModelInfo:
    digest = hashlib.sha256(identity.encode()).hexdigest()
    path = cache_folder() / "models" / f"{digest}.json"
    try:
        return _INFO.validate_json(path.read_bytes())
    except (OSError, ValueError):
        info = _ask(json.loads(settings))
    with suppress(OSError):  # a read-only home costs an import of torch each time and nothing else
        write_atomic(path, _INFO.dump_json(info))
    return info


def config(settings: dict[str, Any]) -> ModelConfig:
    """The model's validated settings as its own class, which can build it."""
    found = find("models", settings.get("name"), "model.name")
    model = found.model_validate(settings)  # type: ignore[attr-defined]
    assert isinstance(model, ModelConfig)
    return model


def _ask(settings: dict[str, Any]) -> ModelInfo:
    import torch

    from engine.models.dropout import sites

    model = config(settings)
    takes = model.takes()
    shape = tuple(t or e for t, e in zip(takes or (None, None, None), (3, 32, 32), strict=True))
    example = DataInfo(model.kind, classes=2, shape=shape if model.kind == "image" else (), vocabulary=3)
    with torch.device("meta"):
        network = model.build(example)
    names = tuple(n for n, p in network.named_parameters() if p.requires_grad)
    aliases = model.known_as()
    for alias, name in aliases.items():
        if name not in names:
            raise InputError(f"model.aliases.{alias}", repr(name), "a parameter of the model")
    return ModelInfo(
        model.model_dump(mode="json"), model.canonical(), names, aliases, model.kind, takes,
        tuple(sites(network)), model.task,
        tuple(n for n, p in network.named_parameters() if p.dim() > 1 and "weight" in n and p.requires_grad),
        tuple(site.p for site in sites(network).values()),
    )  # fmt: skip


def _sources(name: str) -> str:
    """Everything a description can depend on: a plugin's file, and all our model files."""
    return f"{plugin_hash('models', name)} {_our_sources()}"


@cache
def _our_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _stats(settings: dict[str, Any]) -> list[tuple[int, int]]:
    """Size and time of the files that settings point at (word vectors)."""
    files = [v for v in settings.values() if isinstance(v, str) and os.path.isfile(v)]
    return [(os.stat(f).st_size, os.stat(f).st_mtime_ns) for f in files]
