"""The same figures to move through: plotly, drawn in the browser, nothing fetched."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

from orchestrator.reports.figures import (
    ABSENT,
    COLOURS,
    FAILED,
    MOST_WRITTEN,
    PARTIAL,
    SEARCHED,
    Heading,
    line_name,
)
from orchestrator.reports.layout import Line, Panel, band, spans, xs_of
from orchestrator.reports.summary import CellSummary, MetricLike
from orchestrator.reports.words import in_line, interval_text, lines_of, metric_title, number, scale

FONT = {"family": "system-ui, sans-serif", "size": 13, "color": "#1a1a1a"}
CONFIG = {"displaylogo": False, "responsive": True}
ROW_PIXELS = 60


def heatmap(panel: Panel, heading: Heading) -> Any:
    """A heatmap whose cells, under the pointer, tell mean, deviation, n, values, failures and cell key."""
    import plotly.graph_objects as go

    metric = heading.metric
    figure = go.Figure()
    figure.add_trace(_ground(panel))
    figure.add_trace(
        go.Heatmap(
            z=_matrix(panel, lambda cell: scale(metric) * cell.mean if cell.n else None),
            colorscale=_colours(metric),
            colorbar={"title": {"text": metric_title(metric), "side": "right"}, "thickness": 14},
        )
    )
    figure.update_traces(
        x=list(range(len(panel.columns))),
        y=list(range(len(panel.rows))),
        hovertext=_hovers(panel, metric),
        hovertemplate="%{hovertext}<extra></extra>",
        hoverongaps=False,
        xgap=1,
        ygap=1,
    )
    if max(len(panel.columns), len(panel.rows)) <= MOST_WRITTEN:
        _write_cells(figure, panel, metric)
    else:
        _mark_partial(figure, panel)
    figure.update_xaxes(
        title=escape(panel.x), tickvals=list(range(len(panel.columns))), ticktext=_escaped(panel.columns)
    )
    figure.update_yaxes(
        title=escape(panel.y),
        tickvals=list(range(len(panel.rows))),
        ticktext=_escaped(panel.rows),
        autorange="reversed",
        automargin=True,
        ticks="outside",
        tickcolor="white",
    )
    lay_out(
        figure, heading.text(panel.title, list(panel.places.values())), 170 + ROW_PIXELS * len(panel.rows)
    )
    return figure


def scatter(panel: Panel, heading: Heading) -> Any:
    """Points of a search, which tell under the pointer what a heatmap's cells do; a cross has no value."""
    import plotly.graph_objects as go

    metric, hovers = heading.metric, _hovers(panel, heading.metric)
    figure = go.Figure()
    for symbol, wanted in (("circle", True), ("x", False)):
        places = [place for place, cell in panel.places.items() if bool(cell.n) is wanted]
        marker: dict[str, Any] = {"symbol": symbol, "size": 14 if wanted else 9, "color": "#a40e26"}
        if wanted:
            marker |= {
                "color": [scale(metric) * panel.places[place].mean for place in places],
                "colorscale": _colours(metric),
                "colorbar": {"title": {"text": metric_title(metric), "side": "right"}, "thickness": 14},
                "line": {"width": 1, "color": "#444444"},
            }
        figure.add_trace(
            go.Scatter(
                x=[panel.xs[j] for _, j in places],
                y=[panel.ys[i] for i, _ in places],
                mode="markers",
                marker=marker,
                hovertext=[hovers[i][j] for i, j in places],
                hovertemplate="%{hovertext}<extra></extra>",
                showlegend=False,
            )
        )
    figure.update_xaxes(title=escape(panel.x), type="log" if spans(panel.xs, SEARCHED) else "linear")
    figure.update_yaxes(title=escape(panel.y), type="log" if spans(panel.ys, SEARCHED) else "linear")
    lay_out(figure, heading.text(panel.title, list(panel.places.values())), 520)
    return figure


def curve(lines: Sequence[Line], along: str, heading: Heading) -> Any:
    """Lines with bands; a click in the legend hides a line with its band."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for i, line in enumerate(lines):
        for trace in _line_traces(i, line, heading.metric):
            figure.add_trace(trace)
    figure.update_xaxes(title=escape(along), type="log" if spans(xs_of(lines), 10) else "linear")
    xs = xs_of(lines)
    if 0 < len(xs) <= 10:
        figure.update_xaxes(tickvals=xs, ticktext=[f"{x:,.0f}" if x >= 1000 else f"{x:g}" for x in xs])
    figure.update_yaxes(title=metric_title(heading.metric), automargin=True)
    figure.update_layout(legend={"orientation": "h", "y": -0.22, "yanchor": "top"})
    cells = [cell for line in lines for _, cell in line.places]
    lay_out(figure, heading.text("", cells), 480)
    return figure


def fragment(figure: Any, name: str) -> str:
    """A figure as HTML to set into a page that holds plotly's script; equal figures give equal bytes."""
    return str(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=CONFIG))


def document(figure: Any, name: str) -> str:
    """A figure as a page of its own, plotly's script inside."""
    return str(figure.to_html(full_html=True, include_plotlyjs=True, div_id=name, config=CONFIG))


def script() -> str:
    """Plotly's own JavaScript, as the wheel ships it."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _ground(panel: Panel) -> Any:
    """Cells without a value: red where they failed, grey where they were not run."""
    import plotly.graph_objects as go

    return go.Heatmap(
        z=_matrix(panel, lambda cell: None if cell.n else 1 if cell.failures else 0),
        zmin=0,
        zmax=1,
        colorscale=[[0, ABSENT], [1, FAILED]],
        showscale=False,
    )


def _write_cells(figure: Any, panel: Panel, metric: MetricLike) -> None:
    """Each cell's text, dark on a light ground and light on a dark one."""
    from plotly.colors import sample_colorscale, unlabel_rgb

    means = [cell.mean for cell in panel.places.values() if cell.n]
    low, span = min(means, default=0.0), max(means, default=0.0) - min(means, default=0.0)
    texts = []  # together, for each that is added by itself is checked with all before it
    for (i, j), cell in panel.places.items():
        colour = "#1a1a1a"
        if cell.n:
            at = (cell.mean - low) / span if span else 0.5
            red, green, blue = unlabel_rgb(sample_colorscale(_colours(metric), at)[0])
            colour = "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 127 else "#ffffff"
        lines = [piece for line in lines_of(cell, metric) for piece in textwrap.wrap(line, 12)]
        font = {"size": 12 if len(lines) < 3 else 11, "color": colour}
        texts.append({"x": j, "y": i, "text": "<br>".join(map(escape, lines)), "font": font})
    figure.update_layout(annotations=[{**text, "showarrow": False} for text in texts])


def _mark_partial(figure: Any, panel: Panel) -> None:
    """A sign in each cell that is not complete, where the cells are too many for numbers."""
    about = {"text": PARTIAL, "showarrow": False, "font": {"size": 12, "color": "#a40e26"}}
    partial = [place for place, cell in panel.places.items() if cell.n and not cell.complete]
    figure.update_layout(annotations=[{"x": j, "y": i, **about} for i, j in partial])


def _colours(metric: MetricLike) -> str:
    """Bright is better."""
    return "Cividis" if metric.mode == "max" else "Cividis_r"


def _matrix(panel: Panel, value: Any) -> list[list[Any]]:
    shape = range(len(panel.rows)), range(len(panel.columns))
    cells = [[panel.places.get((i, j)) for j in shape[1]] for i in shape[0]]
    return [[None if cell is None else value(cell) for cell in row] for row in cells]


def _hovers(panel: Panel, metric: MetricLike) -> list[list[Any]]:
    texts = _matrix(panel, lambda cell: _about(cell, metric))
    for i, j in panel.places:
        where = [
            f"{panel.x}: {panel.columns[j]}" if panel.x else panel.columns[j],
            f"{panel.y}: {panel.rows[i]}",
        ]
        texts[i][j] = "<br>".join([*map(escape, where), texts[i][j]])
    return texts


def _about(cell: CellSummary, metric: MetricLike) -> str:
    """Everything known of a cell, in lines."""
    lines = [f"{metric_title(metric)}: {in_line(cell, metric)}"]
    lines += list(filter(None, [interval_text(cell, metric), f"n: {cell.n} of {cell.planned}"]))
    lines += [f"seed {seed}: {number(value, metric)}" for seed, value in list(cell.values.items())[:10]]
    if cell.n > 10:
        lines.append(f"and {cell.n - 10} seeds more")
    lines += [f"{kind}: {count}" for kind, count in cell.failures.most_common()]
    if cell.missing:
        lines.append(f"not run: {cell.missing}")
    return "<br>".join(map(escape, [*lines, f"cell {cell.cell[:16]}"]))


def _line_traces(i: int, line: Line, metric: MetricLike) -> list[Any]:
    import plotly.graph_objects as go

    drawn, by, name = band(line), scale(metric), escape(line_name(line, metric))
    if not drawn.x:
        return []
    colour, group = COLOURS[i % len(COLOURS)], f"line {i}"
    hovers = [f"<b>{escape(line.name)}</b><br>{_about(cell, metric)}" for _, cell in line.places if cell.n]
    traces = []
    if drawn.kind:
        outline = [*drawn.high, *reversed(drawn.low)]
        traces.append(
            go.Scatter(
                x=[*drawn.x, *reversed(drawn.x)],
                y=[by * value for value in outline],
                mode="lines",
                fill="toself",
                fillcolor=colour,
                opacity=0.18,
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
                legendgroup=group,
            )
        )
    traces.append(
        go.Scatter(
            x=list(drawn.x),
            y=[by * value for value in drawn.mean],
            mode="lines+markers",
            name=name,
            legendgroup=group,
            line={"color": colour, "dash": ("solid", "dash", "dot", "dashdot")[(i // len(COLOURS)) % 4]},
            hovertext=hovers,
            hovertemplate="%{x}<br>%{hovertext}<extra></extra>",
        )
    )
    return traces


def lay_out(figure: Any, title: str, height: int) -> None:
    """Title, fonts and margins, the same for every figure."""
    text = "<br>".join(map(escape, title.split("\n")))
    figure.update_layout(
        title={"text": text, "font": {"size": 14}, "x": 0, "xref": "paper"},
        template="plotly_white",
        font=FONT,
        height=height,
        margin={"l": 60, "r": 20, "t": 50 + 20 * len(title.splitlines()), "b": 60},
        hoverlabel={"align": "left", "font": {"size": 13}},
    )


def _escaped(labels: Sequence[str]) -> list[str]:
    return [escape(label) for label in labels]
