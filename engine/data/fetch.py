"""Fetching published files into the data folder."""

from __future__ import annotations

from pathlib import Path

from engine.components import find
from engine.data.base import DataConfig
from engine.data.idx import IdxConfig
from engine.errors import InputError


def fetch(name: str, root: Path) -> None:
    """Download what a data set lacks in the data folder; nothing when it is all there.

    Args:
        name: the data set.
        root: the data folder (``PERTURB_DATA``).

    Raises:
        InputError: no such data set; the download failed; or the files have to be fetched by hand, and
            then it says from where.
    """
    config = find("data", name, "data.name").model_validate({"name": name})  # type: ignore[attr-defined]
    assert isinstance(config, DataConfig)
    missing = config.missing(root)
    if not missing:
        return
    if not isinstance(config, IdxConfig):
        how = getattr(config, "source", f"put these files there: {', '.join(missing)}")
        raise InputError(
            "data.name", repr(name), f"a data set that can be downloaded; for this one, {how} ({root})"
        )
    _download(config, root / name)


def _download(config: IdxConfig, folder: Path) -> None:
    """Download through torchvision, into the layout that :class:`IdxConfig` looks for first."""
    from torchvision import datasets

    published = getattr(datasets, config.published)
    try:
        published(str(folder), train=True, download=True)
    except (OSError, RuntimeError) as error:  # torchvision raises RuntimeError once all mirrors failed
        place = folder / config.published / "raw"
        legal = f"the download failed ({error}); try again, or put the four idx files into {place}"
        raise InputError("data.name", repr(config.name), legal) from error
