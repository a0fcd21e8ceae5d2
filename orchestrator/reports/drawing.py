"""One wanted report laid out, and every form it is drawn in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.planning.cells import Point
from orchestrator.reports import figures, interactive, tables
from orchestrator.reports.figures import Heading
from orchestrator.reports.layout import Line, Panel
from orchestrator.reports.summary import CellSummary, MetricLike
from orchestrator.reports.tables import Numbers

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Drawing:
    """One report of a sweep.

    Attributes:
        name: its files begin with it. title: for people.
        kind: which it is. heading: what stands over its figures.
        points, cells: what it is drawn from.
        panels: of a grid or table; of a curve its numbers, a row for each x.
        lines: of a curve, else empty. along: the setting along a curve, else empty.
        numbers: of a table of several metrics, each with its cells; else empty.
    """

    name: str
    title: str
    kind: Literal["grid", "curve", "table", "front", "importances"]
    heading: Heading
    points: Sequence[Point]
    cells: Mapping[str, CellSummary]
    panels: tuple[Panel, ...]
    lines: tuple[Line, ...] = ()
    along: str = ""
    numbers: tuple[Numbers, ...] = ()

    @property
    def metric(self) -> MetricLike:
        """What its numbers are; of several metrics the first, whose form all have."""
        return self.heading.metric

    @property
    def parts(self) -> tuple[Numbers, ...]:
        """Its metrics, mostly one, each with what it is in every cell."""
        return self.numbers or ((self.metric, self.cells),)

    def csv(self) -> str:
        """All places in long form."""
        return tables.to_csv(self.points, self.parts)

    def pngs(self) -> dict[str, bytes]:
        """Figures by file name: one a panel of a grid, one for a curve, none for a table."""
        if self.kind == "table":
            return {}
        if self.kind == "curve":
            return {f"{self.name}.png": figures.png(figures.curve(self.lines, self.along, self.heading))}
        drawn = [
            figures.scatter(panel, self.heading) if panel.scattered else figures.heatmap(panel, self.heading)
            for panel in self.panels
        ]
        return {f"{name}.png": figures.png(one) for name, one in zip(self._panel_names(), drawn, strict=True)}

    def interactive(self) -> dict[str, Any]:
        """Plotly figures by name."""
        if self.kind == "table":
            return {}
        if self.kind == "curve":
            return {self.name: interactive.curve(self.lines, self.along, self.heading)}
        drawn = [
            interactive.scatter(panel, self.heading)
            if panel.scattered
            else interactive.heatmap(panel, self.heading)
            for panel in self.panels
        ]
        return dict(zip(self._panel_names(), drawn, strict=True))

    @cached_property
    def drawn(self) -> dict[str, Any]:
        """The figures of :meth:`interactive`, made once for the page and for files of their own."""
        return self.interactive()

    def tables(self) -> tuple[Panel, ...]:
        """Its numbers as tables: the panels, but a row for each point where they are scattered."""
        if any(panel.scattered for panel in self.panels):
            return (tables.points_panel(self.points, self.cells, self.metric),)
        return self.panels

    def terminal(self) -> list[RenderableType]:
        """What the terminal shows: a table for each panel."""
        return [tables.panel_table(panel, self.metric) for panel in self.tables()]

    @property
    def notes(self) -> str:
        """What should be read beside the numbers; mostly nothing."""
        return ""

    def _panel_names(self) -> list[str]:
        if len(self.panels) == 1:
            return [self.name]
        return [f"{self.name}-{i}" for i, _ in enumerate(self.panels, 1)]
