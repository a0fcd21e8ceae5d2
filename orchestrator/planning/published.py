"""Which cell a published value belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.planning.cells import Point
from orchestrator.sweepfile.problems import Problem

if TYPE_CHECKING:
    from orchestrator.sweepfile.replicates import Published
    from orchestrator.sweepfile.sweep import Sweep


def cells_of_published(sweep: Sweep, points: Sequence[Point]) -> list[str]:
    """The cell of each published value, in the order of the file.

    Several places may match, such as all epsilon at p = 0, as long as they are one cell.

    Raises:
        SweepError: a value that stands for no place, or for places of several cells.
    """
    found: list[str] = []
    problems: list[Problem] = []
    for i, one in enumerate(sweep.published):
        cells = {point.cell for point in points if _at(point.labels, one.at)}
        if len(cells) != 1:
            what = f"stands for {len(cells)} cells" if cells else "stands for no place"
            named = ", ".join(sorted({name for point in points for name in point.labels})) or "no axis"
            legal = f"one cell: {{NAME: VALUE}} of {named}"
            problems.append(Problem(("published", i, "at"), f"{what}; legal: {legal}"))
        found += cells
    sweep.source.fail(problems)
    return found


def targets_of(sweep: Sweep, points: Sequence[Point]) -> dict[str, list[Published]]:
    """The published values of each cell that has any."""
    found: dict[str, list[Published]] = {}
    for cell, one in zip(cells_of_published(sweep, points), sweep.published, strict=True):
        found.setdefault(cell, []).append(one)
    return found


def _at(labels: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    return all(name in labels and labels[name] == value for name, value in wanted.items())
