"""The report page: one HTML file with everything inside, readable without a network."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.planning.cells import Point
from orchestrator.records.row import Row
from orchestrator.reports import facts, interactive
from orchestrator.reports.drawing import Drawing
from orchestrator.reports.layout import axes_of
from orchestrator.reports.sheet import Sheet
from orchestrator.reports.summary import MetricLike, chosen_rows
from orchestrator.reports.words import (
    checkpoint_text,
    in_line,
    interval_text,
    lines_of,
    metric_title,
    selection_note,
)


def page(
    name: str,
    description: str,
    points: Sequence[Point],
    rows: Sequence[Row],
    metric: MetricLike,
    seeds: Sequence[int],
    drawings: Sequence[Drawing],
    images: Mapping[str, bytes],
    sweep_text: str,
    test_selection: bool,
    sheets: Sequence[Sheet] = (),
) -> str:
    """The page as HTML text. Arguments are those of :func:`orchestrator.reports.write_reports`.

    ``images`` are PNG files by name, shown as they are.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    cells = list(dict.fromkeys(point.cell for point in points))
    chosen = chosen_rows(cells, rows, seeds)
    fragments = {
        drawing.name: [
            Markup(interactive.fragment(figure, title))  # plotly escapes what it is given; labels are escaped
            for title, figure in drawing.drawn.items()
        ]
        for drawing in drawings
    }
    return environment.get_template("page.html.j2").render(
        name=name,
        description=description,
        note=selection_note(test_selection),
        metric=metric_title(metric),
        measured=f"{checkpoint_text(metric)}; {'higher' if metric.mode == 'max' else 'lower'} is better",
        seeds=", ".join(map(str, seeds)),
        places=len(points),
        cells=len(cells),
        axes=facts.settings(axes_of(points)),
        progress=facts.progress(cells, chosen, seeds),
        drawings=drawings,
        fragments=fragments,
        images={file.removesuffix(".png"): b64encode(content).decode() for file, content in images.items()},
        lines_of=lines_of,
        in_line=in_line,
        metric_title=metric_title,
        checkpoint_text=checkpoint_text,
        interval_text=interval_text,
        sheets=sheets,
        failures=facts.failures(points, chosen),
        provenance=facts.provenance(chosen),
        sweep_text=sweep_text,
        script=Markup(interactive.script()) if any(fragments.values()) else "",  # plotly's own file
    )
