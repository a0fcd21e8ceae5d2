"""What a report says beside the numbers: progress, failures, and where the numbers come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.planning.cells import Point, seeds_of
from orchestrator.records.row import Row
from orchestrator.reports.summary import failure_mark
from orchestrator.reports.words import labels_text

MOST = 4
"""Different values of a fact that are shown."""


@dataclass(frozen=True)
class Failure:
    """One trial or evaluation that has no value: which it is, the class, and the line that says why."""

    key: str
    labels: str
    seed: int
    mark: str
    reason: str


def progress(cells: Iterable[str], rows: Iterable[Row], seeds: Sequence[int]) -> dict[str, int]:
    """Trials by what became of them: planned, completed, diverged, pruned, failed, not run."""
    planned = sum(len(seeds_of(seeds, cell)) for cell in set(cells))
    states = Counter(str(row.status) for row in rows)
    counts = {state: states[state] for state in ("completed", "diverged", "pruned", "failed")}
    return {"planned": planned, **counts, "not run": planned - sum(counts.values())}


def failures(points: Sequence[Point], rows: Iterable[Row]) -> list[Failure]:
    """Trials without a value and evaluations that failed, in the order of the rows."""
    labels = {point.cell: labels_text(point.labels) for point in reversed(points)}
    found = []
    for row in rows:
        place = labels.get(row.cell, "")
        if row.status != "completed":
            found.append(Failure(row.key, place, row.seed, failure_mark(row), reason(row.error)))
        for label, one in row.evaluations.items():
            if one.status == "failed":
                mark = f"{label}: {one.failure or 'error'}"
                found.append(Failure(one.key, place, row.seed, mark, reason(one.error)))
    return found


def reason(error: str) -> str:
    """The line of an error that says what went wrong.

    Of a traceback it is the first line after the frames of the last exception; of other text the first.

    >>> reason('Traceback (most recent call last):\\n  File "a.py"\\n    g()\\nValueError: bad\\n  more')
    'ValueError: bad'
    >>> reason("the training loss became NaN in epoch 3")
    'the training loss became NaN in epoch 3'
    """
    lines = [line for line in error.splitlines() if line.strip()]
    starts = [i for i, line in enumerate(lines) if line.startswith("Traceback ")]
    after = lines[starts[-1] + 1 :] if starts else lines
    return next((line.strip() for line in after if not line.startswith(" ")), "")


def provenance(rows: Sequence[Row]) -> dict[str, str]:
    """Where the numbers come from, by name; several values are joined, with how many rows have each."""
    packages = dict.fromkeys(name for row in rows for name in row.versions)
    versions = {name: _counted(row.versions.get(name, "none") for row in rows) for name in packages}
    finished = sorted(row.finished for row in rows if row.finished)
    hours = sum(row.timings.get("total", 0.0) for row in rows) / 3600
    facts = {
        "engine contract": _counted(str(row.contract) for row in rows),
        "data hash": _counted(row.data_hash for row in rows),
        "commit": _counted(row.git_commit or "not in a git checkout" for row in rows),
        "device": _counted(row.device for row in rows),
        "workers of a trial": _counted(str(row.workers) for row in rows),
        "trial time": f"{hours:.2f} h in all" if rows else "",
        "finished": f"{finished[0]} to {finished[-1]}" if finished else "",
    }
    return {name: value for name, value in {**facts, **versions}.items() if value}


def settings(axes: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Axes with their values, in one line each; a long one is cut in the middle."""
    return {name: ", ".join(values if len(values) <= 20 else _cut(values)) for name, values in axes.items()}


def _cut(values: Sequence[str]) -> list[str]:
    return [*values[:8], "...", *values[-2:], f"({len(values)} values)"]


def _counted(values: Iterable[str]) -> str:
    counts = Counter(values)
    if len(counts) <= 1:
        return next(iter(counts), "")
    shown = [f"{value} ({count} trials)" for value, count in counts.most_common(MOST)]
    return ", ".join(shown) + (f", and {len(counts) - MOST} more" if len(counts) > MOST else "")
