"""Fetching published files into the data folder."""

from __future__ import annotations

from pathlib import Path

from engine.components import find
from engine.data.base import DataConfig
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
    try:
        config.download(root)
    except (OSError, RuntimeError) as error:  # torchvision raises RuntimeError once all mirrors failed
        places = ", ".join(missing)
        legal = f"the download failed ({error}); try again, or put the published files there: {places}"
        raise InputError("data.name", repr(name), legal) from error
