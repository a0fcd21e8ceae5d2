"""Files of the ledger that do not read: named, set aside, and never deleted."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestrator.records.store import Store

DAMAGED = "ledger/damaged"


@dataclass(frozen=True)
class Damage:
    """A file that was found damaged.

    Attributes:
        file: its name in the store. problem: what is wrong with it.
        kept: where it was moved to; empty where the store could not be written.
        lost: number of rows that are gone with it, as far as it can be told, and are run again.
    """

    file: str
    problem: str
    kept: str
    lost: int | None = 1

    def __str__(self) -> str:
        count = "its rows" if self.lost is None else "1 row" if self.lost == 1 else f"{self.lost} rows"
        where = f"set aside as {self.kept}" if self.kept else "left where it is: the store takes no writes"
        return f"{self.file}: damaged: {self.problem}; {count} count as not done; {where}"


def set_aside(store: Store, file: str, content: bytes, problem: str, lost: int | None = 1) -> Damage:
    """Move a file under ``ledger/damaged``, and log one line of it.

    It is copied before it is removed, and removed only while it holds what was found damaged.

    Args:
        store, file: what. content: as read. problem: what is wrong with it. lost: see :class:`Damage`.
    """
    path = PurePosixPath(file)
    inner = path.relative_to("ledger").parent
    digest = hashlib.sha256(content).hexdigest()[:8]
    kept = f"{DAMAGED}/{inner}/{path.stem}.{digest}{path.suffix}"
    try:
        store.put(kept, content)
        if store.get(file) == content:
            store.remove(file)
    except OSError:
        kept = ""
    found = Damage(file, problem, kept, lost)
    logging.getLogger("perturb").warning("%s", found)
    return found
