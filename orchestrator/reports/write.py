"""The two ways out of this package: files in a folder, and renderables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.files import write_atomic
from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports import schedules
from orchestrator.reports.draw import Led, draw
from orchestrator.reports.facts import progress
from orchestrator.reports.layout import ReportLike
from orchestrator.reports.sheet import Sheet
from orchestrator.reports.summary import MetricLike, chosen_rows
from orchestrator.reports.words import selection_note

if TYPE_CHECKING:
    from rich.console import RenderableType

PAGE = "report.html"
"""Name of the page that holds every report of a sweep."""


def write_reports(
    folder: Path,
    name: str,
    description: str,
    points: Sequence[Point],
    rows: Sequence[Row],
    metric: MetricLike,
    seeds: Sequence[int],
    reports: Sequence[ReportLike | Led],
    sweep_text: str,
    test_selection: bool,
    sheets: Sequence[Sheet] = (),
) -> list[Path]:
    """Write all reports of a sweep: CSV, PNG and interactive HTML of each, and one page with them all.

    Evaluations that found more than numbers have a picture each; a population has one of its schedules.

    Equal points and rows give equal bytes.

    Args:
        folder: where to; made when it is not there, files of the same name are replaced.
        name, description: of the sweep. points: its places. rows: of the ledger; others are passed over.
        metric, seeds: what is measured, over which seeds. reports: which are wanted; a table of all
            points is written where there is none.
        sweep_text: the sweep file as it was run. test_selection: whether settings were selected on test.
        sheets: further tables.

    Returns:
        The files, the page first.

    Raises:
        InputError: rows that must not stand in one table, or a report over a setting that no point has.
    """
    from orchestrator.reports import interactive
    from orchestrator.reports.page import page
    from orchestrator.reports.pictures import pictures

    drawings = draw(name, points, rows, metric, seeds, reports, test_selection)
    members = schedules.members(points, rows)
    images = pictures(points, rows, seeds) | schedules.picture(members, metric)
    html = page(
        name, description, points, rows, metric, seeds, drawings, images, sweep_text, test_selection, sheets
    )
    files: dict[str, bytes] = {PAGE: html.encode(), **images, **schedules.table(members)}
    files |= {f"{sheet.name}.csv": sheet.csv().encode() for sheet in sheets}
    for drawing in drawings:
        files[f"{drawing.name}.csv"] = drawing.csv().encode()
        files.update(drawing.pngs())
        for title, figure in drawing.drawn.items():
            files[f"{title}.html"] = interactive.document(figure, title).encode()
    for file, content in files.items():
        write_atomic(folder / file, content)
    return [folder / file for file in files]


def terminal(
    name: str,
    points: Sequence[Point],
    rows: Sequence[Row],
    metric: MetricLike,
    seeds: Sequence[int],
    reports: Sequence[ReportLike | Led],
    test_selection: bool = False,
    sheets: Sequence[Sheet] = (),
) -> list[RenderableType]:
    """What ``perturb report`` prints: one line of progress, then a table for each panel.

    Raises:
        InputError: as :func:`write_reports`.
    """
    from rich.text import Text

    cells = list(dict.fromkeys(point.cell for point in points))
    counts = progress(cells, chosen_rows(cells, rows, seeds), seeds)
    shown: list[RenderableType] = [Text(progress_line(name, counts))]
    if test_selection:
        shown.append(Text(selection_note(test_selection), style="bold red"))
    for drawing in draw(name, points, rows, metric, seeds, reports, test_selection):
        shown += drawing.terminal()
    shown += [Text(line) for line in schedules.lines(schedules.members(points, rows), metric)]
    return shown + [sheet.table() for sheet in sheets]


def progress_line(name: str, counts: dict[str, int]) -> str:
    """Counts in one line; what is nought is left out.

    >>> progress_line("quick", {"planned": 4, "completed": 3, "failed": 0, "not run": 1})
    'quick: 4 trials planned, 3 completed, 1 not run'
    """
    parts = [f"{count} {state}" for state, count in counts.items() if count and state != "planned"]
    return f"{name}: {counts['planned']} trials planned" + "".join(f", {part}" for part in parts)
