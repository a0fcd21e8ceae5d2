"""What the commands print, from plain values."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.costing import cost_lines, estimate_text, trials_text
from orchestrator.dispatch.live import View, cell_text, duration, evaluations_text, top_of, words
from orchestrator.planning.evaluations import impossible
from orchestrator.planning.jobs import kept
from orchestrator.records.row import SETTLED
from orchestrator.records.store import Store

if TYPE_CHECKING:
    from orchestrator.options import Ended
    from orchestrator.planning.cost import Cost
    from orchestrator.planning.plan import Plan
    from orchestrator.sweepfile.sweep import Sweep


def plan_view(sweep: Sweep, planned: Plan, store: Store, cost: Cost | None = None) -> RenderableType:
    """Counts of a plan, what it will cost, and one line for each cell."""
    c = planned.counts()
    head = (
        f"{sweep.name}: {c['points']} points, {c['cells']} cells, {trials_text(sweep, planned)}\n"
        f"{c['done']} done, {c['failed']} failed before, {c['todo']} to do, in {store.location}"
    )
    e = planned.evaluated.counts()
    if e:
        names = ", ".join(one.label for one in sweep.asked)
        head += (
            f"\n{e['evaluations']} evaluations ({names}): {e['done']} done, {e['failed']} failed before, "
            f"{e['todo']} to do" + (f", {e['impossible']} impossible" if e["impossible"] else "")
        )
    if kept(sweep) != sweep.keep:
        head += f"\nkeep: {kept(sweep)} in place of {sweep.keep}, for the evaluations need these weights"
    head += "".join(f"\n{line}" for line in impossible(planned.evaluated))
    if planned.asked is not None:
        head += f"\nsearched over {', '.join(sweep.search)}: {c['cells']} cells asked for so far"
    if cost is not None:
        head += "".join(f"\n{line}" for line in cost_lines(cost))
    table = Table(box=None, padding=(0, 2, 0, 0))
    estimated = ["a trial takes"] if cost is not None else []
    for column in ("cell", "points", "done", "passes a step", *estimated, "first point"):
        table.add_column(column)
    places: dict[str, int] = {}
    first: dict[str, dict[str, Any]] = {}
    for point in planned.grid.points:
        places[point.cell] = places.get(point.cell, 0) + 1
        first.setdefault(point.cell, dict(point.labels))
    done, failed, asked = (Counter({j.cell: 0 for j in planned.jobs}) for _ in range(3))
    for job in planned.jobs:
        asked[job.cell] += 1
        done[job.cell] += planned.status.get(job.key) in SETTLED
        failed[job.cell] += planned.status.get(job.key) == "failed"
    for key, cell in planned.grid.cells.items():
        state = f"{done[key]}/{asked[key]}" + (f", {failed[key]} failed" if failed[key] else "")
        takes = [estimate_text(cost.cells.get(key))] if cost is not None else []
        row = (key[:10], places[key], state, cell.trial.slots.passes, *takes)
        table.add_row(*map(str, row), words(first[key]))
    return Group(Text(head), table)


def status_view(found: Sequence[dict[str, Any]], store: Store, whole: bool = False) -> RenderableType:
    """One line for each sweep; of a single one that was asked for, all that its driver's terminal shows."""
    if not found:
        return Text(f"no sweep has been run in {store.location}")
    if whole:
        (one,) = found
        place = f", process {one['pid']} on {one['host']}" if one["host"] else ""
        return Group(View(one), Text(f"{one['state']}, told {one['updated'] or 'never'}{place}", style="dim"))
    table = Table(box=None, padding=(0, 2, 0, 0))
    asked = any(p.get("evaluations") for p in found)  # what an earlier version wrote says nothing of them
    head = ["sweep", "state", "done", *(["evals"] if asked else [])]
    for column in (*head, "running", "failed", "elapsed", "ETA"):
        table.add_column(column, no_wrap=True)
    table.add_column("best cell", no_wrap=True, overflow="ellipsis", min_width=12)
    table.add_column("updated", no_wrap=True, overflow="ellipsis")
    for p in found:
        best = "".join(f"{cell_text(one)} {words(one['labels'])}" for one in top_of(p)[:1])
        eta = duration(p["eta_seconds"]) if p["state"] == "running" else "-"
        e = p.get("evaluations")
        evaluated = [evaluations_text(e).replace(" evaluations", "") if e else "-"] if asked else []
        table.add_row(
            p["sweep"], p["state"], f"{p['done']}/{p['trials']}", *evaluated, str(p["running"]),
            str(p["failed"]), duration(p["elapsed_seconds"]), eta, best, p["updated"],
        )  # fmt: skip
    return table


def ending(words: Sequence[str], ended: Ended, pages: str) -> Iterator[str]:
    """The last lines of a run: what came of it, and how to go on.

    Args:
        words: the command's own words, to run it again. pages: how to see MLflow's pages; empty where
            nothing was tracked.
    """
    c, again = ended.counts, f"perturb {shlex.join(words)}"
    yield f"{c['done']}/{c['trials']} trials done, {c['failed']} failed, {c['todo']} to do"
    if e := ended.evaluations:
        yield f"{e['done']}/{e['evaluations']} evaluations done, {e['failed']} failed, {e['todo']} to do"
        if not ended.trained and c["todo"]:
            yield "evaluations of trials that are not done wait for perturb run"
    for kind, count in ended.failures.items():
        yield f"{count} failed: {kind}"
    if ended.failed:
        yield f"why: perturb logs {ended.failed[0][:12]}; once mended, run them again with: {again}"
    if ended.report:
        yield f"report  {ended.report}"
    if ended.stopped:
        yield f"{ended.stopped}; continue with: {again}"
    elif pages:
        yield f"MLflow  {pages}"


def data_view(root: Path | None) -> RenderableType:
    """Every data set, and whether it can be used here."""
    from engine.components import find, names

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("data set", "kind", "train", "val", "test", "here"):
        table.add_column(column)
    for name in names("data"):
        config = find("data", name, "data.name").model_validate({"name": name})  # type: ignore[attr-defined]
        info, missing = config.info(), config.missing(root)
        sizes = [str(info.sizes.get(split, "")) for split in ("train", "val", "test")]
        table.add_row(name, info.kind, *sizes, "; ".join(missing) or "yes")
    return table
