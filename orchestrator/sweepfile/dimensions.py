"""The dimensions of a sweep's grid: its axes, those that go together, and its named points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.sweepfile.yaml_file import Where

if TYPE_CHECKING:
    from orchestrator.sweepfile.sweep import Sweep

POINT = "point"
"""The dimension that the named points make, in labels and reports."""


def dimensions(sweep: Sweep) -> dict[str, tuple[Where, tuple[Any, ...]]]:
    """Place and values of every axis, those of ``zip`` included, by its dotted name."""
    found: dict[str, tuple[Where, tuple[Any, ...]]] = {}
    for name, values in sweep.axes.items():
        found[name] = (("axes", name), values)
    for i, group in enumerate(sweep.zip):
        for name, values in group.items():
            found[name] = (("zip", i, name), values)
    return found
