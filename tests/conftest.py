"""For all tests: caches and clusters of their own, one thread a process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RAY_AUTH_MODE"] = "disabled"  # clusters of the tests, on the loopback interface


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for the whole session; a test that looks into it takes one of its own."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("PERTURB_CACHE")
    os.environ["PERTURB_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["PERTURB_CACHE"]
    else:
        os.environ["PERTURB_CACHE"] = before


@pytest.fixture(scope="session")
def ray_session(shared_cache: Path) -> Iterator[None]:
    """Ray on two CPUs, started once for all tests that need it."""
    import ray

    from orchestrator.dispatch.local import start_ray

    start_ray(None, 2, [], preload=True)
    yield
    ray.shutdown()
