"""What ``perturb simulate`` prints."""

from __future__ import annotations

from orchestrator.dispatch.live import duration
from orchestrator.reports.words import label_text
from orchestrator.simulation.result import Simulated


def simulated_lines(found: Simulated) -> list[str]:
    """A simulation in some lines."""
    ended = ", ".join(f"{count} {status}" for status, count in found.statuses.items() if count)
    lines = [
        f"{found.sweep}: {found.trials} trials on {found.slots} simulated slots: {ended or 'none ran'}",
        f"takes {duration(found.seconds)}, and {duration(found.minimum)} without any delay; "
        f"the slots are busy {100 * found.utilisation:.0f} % of it",
    ]
    if found.failures:
        lines.append("failures: " + ", ".join(f"{count} {kind}" for kind, count in found.failures.items()))
    if found.attempts > sum(found.statuses.values()) - found.statuses.get("waiting", 0):
        lines.append(f"{found.attempts} attempts were started")
    if found.best is not None:
        point = "  ".join(f"{name}={label_text(value)}" for name, value in found.best["labels"].items())
        n, planned = found.best["seeds"], found.best["planned"]
        seeds = f"{n} of {planned} seeds" if n < planned else f"{n} seed{'s' * (n != 1)}"
        lines.append(f"best {found.metric} {found.best['mean']:.4f} ({seeds})  {point or 'base trial'}")
    if found.curves:
        words = {
            "key": "recorded of the same trial",
            "cell": "of another seed of its cell",
            "made up": "made up",
        }
        told = ", ".join(
            f"{found.curves[kind]} {text}" for kind, text in words.items() if kind in found.curves
        )
        lines.append(f"curves: {told}")
    lines += filter(None, [found.stopped and f"stopped: {found.stopped}", found.note])
    each = 1e3 * (found.driver["plan"] + found.driver["run"]) / max(1, found.attempts)
    lines.append(f"the driver was busy {each:.2f} ms a trial, and {found.driver['compact']:.1f} s at the end")
    return lines
