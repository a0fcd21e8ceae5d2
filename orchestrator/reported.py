"""What a sweep's last run has reported: a run that finds nothing new writes no page and tells MLflow nothing.

``sweeps/<name>/reported`` holds a digest of all that reports are made of: the sweep file, the version of this
package, MLflow's address, and key, status and time of every row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from orchestrator import reporting
from orchestrator.options import Options
from orchestrator.records.provenance import versions
from orchestrator.records.row import Row
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep


class Reported:
    """What is to be reported of some rows, held against what was.

    Args:
        sweep: whose rows. store: where it is kept. options: whether MLflow is written, and where.
        rows: those that are to be reported.
    """

    def __init__(self, sweep: Sweep, store: Store, options: Options, rows: Iterable[Row]) -> None:
        self.sweep, self.store = sweep, store
        self.place = f"sweeps/{sweep.name}/reported"
        self.uri = reporting.tracking_place(store, options.uri)[0] if options.track else ""
        self.digest = self._digest(rows)

    def already(self) -> bool:
        """Whether all of it is reported, and the page and MLflow's own file are still there."""
        with suppress(OSError):
            page = self.store.exists(f"sweeps/{self.sweep.name}/report/report.html")
            return page and self._tracked() and self.store.get(self.place) == self.digest
        return False

    def keep(self) -> None:
        """All of it is reported now."""
        with suppress(OSError):  # it is reported once more
            self.store.put(self.place, self.digest)

    def _tracked(self) -> bool:
        file = self.uri.removeprefix("sqlite:///")
        return file == self.uri or Path(file).exists()

    def _digest(self, rows: Iterable[Row]) -> bytes:
        told = []
        for row in rows:
            told.append([row.key, row.status, row.finished])
            told += [[one.key, one.status, one.finished] for one in row.evaluations.values()]
        made_of = [versions().get("perturb-sweeps", ""), self.sweep.text, self.uri, sorted(told)]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest().encode()
