"""How a sweep stands from the store alone: what its driver wrote last, else what the ledger holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.live import Live

from engine.errors import InputError
from engine.identity import CONTRACT
from orchestrator.dispatch.live import View, line
from orchestrator.dispatch.progress import Progress, progress_of
from orchestrator.planning.evaluations import attach
from orchestrator.planning.plan import Plan, plan
from orchestrator.planning.sequential import seeds_asked
from orchestrator.records.ledger import Ledger
from orchestrator.records.store import Store
from orchestrator.reports.facts import reason
from orchestrator.sweepfile.problems import SweepError
from orchestrator.sweepfile.sweep import Sweep, from_dict
from orchestrator.sweepfile.yaml_file import read_text

WATCH_SECONDS = 2.0
"""Time between two looks of ``perturb status --watch``."""

MOVING = ("running", "draining")
"""States of a sweep that a driver runs."""


def standing(store: Store, name: str, whole: bool = True) -> dict[str, Any] | None:
    """A snapshot of a sweep; None where the store knows nothing of it.

    Args:
        store: where it has been run. name: of the sweep.
        whole: make up from the ledger what an earlier version did not write.
    """
    found = progress_of(store, name)
    if found is not None and (not whole or found.get("version", 1) > 1 or found["state"] in MOVING):
        return found
    text = store.get(f"sweeps/{name}/sweep.yaml")
    made = recorded(store, name, text.decode()) if text is not None else None
    if found is None or made is None:
        return found or made
    kept = ("state", "elapsed_seconds", "host", "pid", "updated")
    return made | {key: found[key] for key in kept if key in found}


def recorded(store: Store, name: str, text: str) -> dict[str, Any]:
    """A snapshot made of the sweep file that the store keeps, and of the ledger's rows.

    What a file means that cannot be read here (its plugins are elsewhere) is unknown.
    """
    ledger = Ledger(store)
    try:
        sweep = from_dict(read_text(text).content)
        planned = plan(sweep, ledger)
    except (SweepError, InputError, OSError):
        return _unknown(name)
    held = [job.key for job in planned.jobs if job.key in planned.status]
    rows = attach(ledger.read(held, planned.status, rule=planned.rule), planned.evaluated.jobs, ledger)
    seeds = seeds_asked(sweep, planned.grid.points, rows)
    progress = Progress(name, planned.counts(), sweep.metric, planned.evaluated, seeds)
    progress.recall(planned.jobs, rows)
    for row in rows:
        if row.status == "failed":
            progress.states["failed"] += 1
            progress.failures[row.failure or "error"] += 1
            said = {"key": row.key, "reason": reason(row.error)}
            progress.reasons.setdefault(row.failure or "error", said)
    counts = planned.counts()
    progress.state = "interrupted" if counts["todo"] > counts["failed"] else "done"
    nothing = {"elapsed_seconds": None, "eta_seconds": None, "idle_seconds": None, "host": "", "pid": 0}
    return progress.snapshot() | nothing | {"updated": max((row.finished for row in rows), default="")}


def _unknown(name: str) -> dict[str, Any]:
    counts = dict.fromkeys(("trials", "done", "running", "failed", "diverged"), 0)
    return {
        "version": 2, "sweep": name, "state": "unknown", **counts, "metric": "", "rate": None,
        **{one: {} for one in ("states", "failures", "reasons", "evaluations", "resources")},
        **dict.fromkeys(("eta_seconds", "elapsed_seconds", "idle_seconds", "best"), None),
        "top": [], "host": "", "pid": 0, "updated": "",
    }  # fmt: skip


def watch(
    look: Callable[[], dict[str, Any]], console: Console, wait: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    """Show a sweep until no driver runs it: a block on a terminal, a line for each look elsewhere.

    Args:
        look: gives the snapshot. wait: sleeps so many seconds.

    Returns:
        The last snapshot.
    """
    found = look()
    if not console.is_terminal:
        while found["state"] in MOVING:
            console.print(line(found), highlight=False, soft_wrap=True)
            wait(WATCH_SECONDS)
            found = look()
        return found
    with Live(View(found), console=console, auto_refresh=False, transient=True) as shown:
        while found["state"] in MOVING:
            wait(WATCH_SECONDS)
            found = look()
            shown.update(View(found), refresh=True)
    return found


def no_longer_counted(sweep: Sweep, planned: Plan, store: Store, last: Mapping[str, Any] | None) -> list[str]:
    """A warning where the last run of the very same sweep held more trials as done than count today.

    Their rows stand in the ledger as they did, under keys that the sweep has no longer: a key holds the
    engine's contract, the data's content and the plugins.

    Args:
        planned: of the sweep. store: that it is planned against.
        last: what :func:`progress_of` told before the sweep was planned, so that a driver that runs meanwhile
            is not ahead of the plan: it hears of a row that stands.
    """
    if last is None:
        return []
    counts = planned.counts()
    gone = last["done"] - (counts["done"] - counts["pruned"])
    if gone <= 0 or store.get(f"sweeps/{sweep.name}/sweep.yaml") != sweep.text.encode():
        return []
    why = f"the engine's contract (now {CONTRACT}), the data or a plugin has changed, or their rows are gone"
    told = f"{sweep.name}: {gone} trials that the last run of this very file held as done do not count"
    return [f"{told}: {why}"]
