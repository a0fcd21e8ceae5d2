from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, so that no test sees or leaves converted data."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("PERTURB_CACHE", str(folder))
    return folder


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERTURB_DATA", raising=False)
