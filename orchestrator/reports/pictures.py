"""Pictures of what evaluations found: curves over epsilon, landscapes, histograms, features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.planning.cells import Point
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.row import Row
from orchestrator.reports import landscape
from orchestrator.reports.figures import png
from orchestrator.reports.landscape import Caption, Table
from orchestrator.reports.summary import chosen_rows
from orchestrator.reports.words import labels_text, slug

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_RUNS = 8
"""Cells in one picture at most, the first of the sweep: more lines cannot be told apart."""

Found = Mapping[str, Sequence[EvaluationRow]]
"""Rows of one evaluation by what its cell is called, one a seed."""


def pictures(points: Sequence[Point], rows: Sequence[Row], seeds: Sequence[int]) -> dict[str, bytes]:
    """PNG files by name, one or more for each evaluation that has something to draw."""
    names = {point.cell: labels_text(point.labels) for point in reversed(points)}
    cells = list(dict.fromkeys(point.cell for point in points))
    inside = chosen_rows(cells, rows, seeds)
    files: dict[str, bytes] = {}
    for label in dict.fromkeys(label for row in inside for label in row.evaluations):
        found: dict[str, list[EvaluationRow]] = {}
        for cell in cells:
            done = [row.evaluations[label] for row in inside if row.cell == cell and label in row.evaluations]
            done = [one for one in done if one.tables]
            if done and len(found) < MOST_RUNS:
                found[names[cell] or "trial"] = done
        for suffix, figure in _drawn(label, found, len(cells)):
            files[f"{slug(label)}{suffix}.png"] = png(figure)
    return files


def _drawn(label: str, found: Found, cells: int) -> Iterator[tuple[str, Figure]]:
    if not found:
        return
    first = next(iter(found.values()))[0]
    note = f"the first {len(found)} of {cells} cells" if cells > len(found) == MOST_RUNS else ""
    caption = Caption(label, first.examples, note)
    draw = _FIGURES.get(first.name)
    if draw is not None:
        yield from draw(found, caption)


def _tables(found: Found, table: str) -> dict[str, list[Table]]:
    return {name: [one.tables[table] for one in rows if table in one.tables] for name, rows in found.items()}


def _curve(found: Found, caption: Caption) -> Iterator[tuple[str, Figure]]:
    yield "", landscape.robustness(_tables(found, "curve"), caption)


def _landscape(found: Found, caption: Caption) -> Iterator[tuple[str, Figure]]:
    tables = _tables(found, "landscape")
    plane = any("beta" in row for runs in tables.values() for table in runs for row in table[:1])
    if plane:
        yield "", landscape.contours({name: runs[0] for name, runs in tables.items()}, caption)
    else:
        yield "", landscape.lines(tables, caption)


def _perturbation(found: Found, caption: Caption) -> Iterator[tuple[str, Figure]]:
    (table,) = {name for rows in found.values() for one in rows for name in one.tables}
    yield "", landscape.sizes(_tables(found, table), caption)


def _weights(found: Found, caption: Caption) -> Iterator[tuple[str, Figure]]:
    """The last weight matrix or filter of each run (AWP, Fig. 4)."""
    runs: dict[str, Table] = {}
    for name, rows in found.items():
        table = rows[0].tables["histogram"]
        runs[name] = [row for row in table if row["layer"] == table[-1]["layer"]]
    layer = str(next(iter(runs.values()))[-1]["layer"])
    yield "", landscape.histograms(runs, Caption(f"{caption.title}: {layer}", 0, caption.note))


def _activations(found: Found, caption: Caption) -> Iterator[tuple[str, Figure]]:
    runs = {name: rows[0].tables["activations"] for name, rows in found.items()}
    yield "", landscape.histograms(runs, caption, "activation", log=True)


def _features(found: Found, caption: Caption) -> Iterator[tuple[str, Figure]]:
    for name, rows in found.items():
        titled = Caption(f"{caption.title}, {name}", caption.examples, caption.note)
        yield f"_{slug(name)}", landscape.features(next(iter(rows[0].tables.values())), titled)


_FIGURES: dict[str, Callable[[Found, Caption], Iterator[tuple[str, Figure]]]] = {
    "robust_curve": _curve,
    "landscape": _landscape,
    "weight_perturbation": _perturbation,
    "weights": _weights,
    "activations": _activations,
    "features": _features,
}
