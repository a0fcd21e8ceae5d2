"""One run of a sweep, as its parts see it: plan, dispatch, close."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.audience import Audience
from orchestrator.options import Options
from orchestrator.records.lease import Lease
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep


@dataclass(frozen=True)
class OneRun:
    """What does not change while a sweep is run, with its lock held.

    Attributes:
        sweep, options: what is run, where and how.
        store, ledger: where its results are. lease: of this driver.
        audience: told of it.
    """

    sweep: Sweep
    options: Options
    store: Store
    ledger: Ledger
    lease: Lease
    audience: Audience
