"""The embedded store's database, made whole or not at all.

MLflow makes its tables one by one, and refuses for good a file that has only some of them: what a driver
leaves that is killed in its first second.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def make(path: Path) -> None:
    """Make MLflow's tables in a file beside ``path``, which is linked into place; nothing where there is one.

    Raises:
        MlflowException, OSError: the file cannot be written.
    """
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        made = SqlAlchemyStore(f"sqlite:///{part.as_posix()}", "./mlruns")  # type: ignore[no-untyped-call]  # as MlflowClient
        made.engine.dispose()
        _appear(part, path)
    finally:
        for left in path.parent.glob(f"{part.name}*"):
            left.unlink(missing_ok=True)


def _appear(part: Path, path: Path) -> None:
    """The file under its name, unless another driver was faster."""
    try:
        os.link(part, path)
    except FileExistsError:
        return
    except OSError:  # a filesystem without links
        os.replace(part, path)
