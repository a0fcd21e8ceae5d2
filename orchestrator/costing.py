"""What a plan will cost, on which cluster, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError
from orchestrator.planning.cost import Cost, Range, cost, sources
from orchestrator.planning.schedule import Cluster, this_machine
from orchestrator.planning.timing import Estimate
from orchestrator.records.ledger import Ledger

if TYPE_CHECKING:
    from orchestrator.planning.plan import Plan
    from orchestrator.sweepfile.sweep import Sweep


def cluster_of(address: str | None, cpus: int | None, gpus: int | None) -> Cluster:
    """The nodes of a running Ray cluster, or this machine, with other numbers where they are given.

    Raises:
        InputError: nothing answers at the address, or it was given beside numbers.
    """
    if address is None:
        return this_machine(cpus, gpus)
    if cpus is not None or gpus is not None:
        raise InputError("--address", address, "alone: its nodes are asked what they have")
    import ray

    from orchestrator.dispatch.local import start_ray

    here = Path(__file__).parent
    start_ray(address, None, [str(here), str(here.parent / "engine")])
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return Cluster(tuple((node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes))


def costed(
    sweep: Sweep,
    planned: Plan,
    ledger: Ledger,
    cluster: Cluster,
    say: Callable[[str], None] | None = None,
) -> Cost:
    """What a plan will cost; ``say`` asks for pilots first, and is told of each."""
    if say is not None:
        from orchestrator.planning.pilot import pilot

        pilot(sweep, planned, ledger, say)
    return cost(sweep, planned, ledger, cluster)


def trials_text(sweep: Sweep, planned: Plan) -> str:
    """How many trials there are, or at least and at most."""
    trials, seeds, rule = planned.counts()["trials"], len(sweep.seeds), sweep.sequential
    if rule is None:
        return f"{trials} trials ({seeds} {'seed' if seeds == 1 else 'seeds'} a cell)"
    what = "the best cell" if rule.decide == "best" else "verdicts against published values"
    bounds = f"at least {trials}, at most {planned.most} trials"
    return f"{bounds} ({rule.start} to {rule.most} seeds a cell, as {what} ask for them)"


def cost_lines(cost: Cost) -> Iterator[str]:
    """The totals, and what they do not hold."""
    known, bound = cost.trials > cost.unknown or not cost.trials, "at most " if cost.at_most else ""
    if cost.hours is not None and known and cost.hours.expected:
        line = f"will cost {bound}{span_text(cost.hours)} {cost.unit}-hours"
        if cost.money is not None:
            line += f", {span_text(cost.money)} in money"
        if cost.wall is not None:
            at_once = f"{cost.slots} trial{'s' if cost.slots != 1 else ''} at once"
            line += f"; {time_range(cost.wall)} of wall-clock on {cost.cluster} ({at_once})"
        yield line
        found = sources(cost.cells.values())
        resting = ", ".join(
            f"{count} from {source}" for source, count in found.items() if source != "unknown"
        )
        yield f"cells: {resting}; ranges hold 90 %"
    if not cost.slots:
        yield f"no room for a trial on {cost.cluster}: --cpus, --gpus or --address say another cluster"
    if cost.hours_most is not None and not cost.unknown:
        yield f"with all seeds that may be added {cost.hours_most:.3g} {cost.unit}-hours"
    if cost.unknown:
        yield f"unknown: how long {cost.unknown} trials take; perturb plan --pilot measures it"
    if cost.unknown_evaluations:
        yield f"unknown: how long {cost.unknown_evaluations} evaluations take, until one of each has run"


def estimate_text(estimate: Estimate | None) -> str:
    """Seconds of a trial with their interval, and what they rest on.

    >>> estimate_text(Estimate(12.3, 0.1, 4, "like trials")), estimate_text(None)
    ('12.3 s (10.2-14.8), 4 rows', 'unknown')
    """
    if estimate is None:
        return "unknown"
    unit, size = unit_of(estimate.seconds)
    low, high = estimate.interval
    rests = "pilot" if estimate.source == "pilot" else f"{estimate.rows} row{'s' * (estimate.rows != 1)}"
    own = " of it" if estimate.source == "same cell" else ""
    expected = f"{'<= ' * estimate.at_most}{estimate.seconds / size:.3g} {unit}"
    return f"{expected} ({low / size:.3g}-{high / size:.3g}), {rests}{own}"


def unit_of(seconds: float) -> tuple[str, float]:
    """The unit that a time is shown in, and its seconds."""
    units = (("h", 3600.0), ("min", 60.0))
    return next(((unit, size) for unit, size in units if seconds >= 2 * size), ("s", 1.0))


def span_text(found: Range) -> str:
    """``3.2 (2.8 to 3.9)``."""
    return f"{found.expected:.3g} ({found.low:.3g} to {found.high:.3g})"


def time_range(found: Range) -> str:
    """Hours, in the unit that fits: ``4.8 min (3.1 to 7.9)``."""
    unit, size = unit_of(3600 * found.expected)
    expected, low, high = (3600 * hours / size for hours in (found.expected, found.low, found.high))
    return f"{expected:.3g} {unit} ({low:.3g} to {high:.3g})"
