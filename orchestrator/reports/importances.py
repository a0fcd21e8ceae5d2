"""How much each searched setting matters, as a bar chart, a table and a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from orchestrator.planning.cells import Point
from orchestrator.planning.importances import Scores, importances
from orchestrator.reports import figures
from orchestrator.reports.drawing import Drawing
from orchestrator.reports.figures import COLOURS, DPI, Heading
from orchestrator.reports.summary import CellSummary
from orchestrator.sweepfile.parts import Searched

if TYPE_CHECKING:
    from rich.console import RenderableType

KINDS = ("fANOVA", "PED-ANOVA")


@dataclass(frozen=True)
class Importances(Drawing):
    """Importances of one objective's settings.

    Attributes:
        scores: what they are, or why there are none.
    """

    scores: Scores = field(default_factory=lambda: Scores({}, {}, 0))

    def shares(self) -> dict[str, tuple[float | None, float]]:
        """fANOVA and PED-ANOVA of each setting; no fANOVA for a conditional one."""
        return {
            name: (self.scores.fanova.get(name), self.scores.ped_anova[name]) for name in self.scores.settings
        }

    @property
    def notes(self) -> str:
        """What the numbers come from, and what is missing."""
        scores = self.scores
        if scores.why:
            return f"No importances: they need {scores.why}."
        said = [f"{scores.n} cells with a value; the best {100 * scores.quantile:.0f} % for PED-ANOVA"]
        if scores.fitted < scores.n:
            said.append(f"fANOVA over {scores.fitted} of them, drawn at random")
        if scores.dropped:
            said.append(f"fANOVA drops conditional settings ({', '.join(scores.dropped)})")
        return "; ".join(said) + "."

    def columns(self) -> dict[str, list[Any]]:
        """The numbers as columns of a table."""
        shares = self.shares()
        return {
            "setting": list(shares),
            "fanova": [fanova for fanova, _ in shares.values()],
            "ped_anova": [ped for _, ped in shares.values()],
            "n": [self.scores.n for _ in shares],
            "metric": [self.metric.name for _ in shares],
        }

    def csv(self) -> str:
        """A line a setting; empty where there is no number."""
        buffer, columns = io.StringIO(), self.columns()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow(["" if value is None else value for value in row])
        return buffer.getvalue()

    def pngs(self) -> dict[str, bytes]:
        """A bar chart; none without numbers."""
        if self.scores.why:
            return {}
        from matplotlib.figure import Figure

        shares = self.shares()
        figure = Figure(figsize=(7.2, 1.9 + 0.6 * len(shares)), dpi=DPI)
        axes = figure.add_subplot()
        for i, kind in enumerate(KINDS):
            values = [100 * (pair[i] or 0.0) for pair in shares.values()]
            places = [place + (i - 0.5) * 0.38 for place in range(len(shares))]
            axes.barh(places, values, height=0.36, color=COLOURS[i], label=kind)
        axes.set_yticks(range(len(shares)), list(shares))
        axes.invert_yaxis()
        axes.set_xlabel("importance, %")
        axes.set_title(self._head(), fontsize=10, loc="left")
        axes.legend(frameon=False, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3, axis="x")
        figure.set_layout_engine("tight")
        return {f"{self.name}.png": figures.png(figure)}

    def interactive(self) -> dict[str, Any]:
        """The bar chart to point at; none without numbers."""
        if self.scores.why:
            return {}
        import plotly.graph_objects as go

        from orchestrator.reports.interactive import lay_out

        shares, figure = self.shares(), go.Figure()
        for i, kind in enumerate(KINDS):
            figure.add_trace(
                go.Bar(
                    x=[
                        None if share is None else 100 * share
                        for share in (pair[i] for pair in shares.values())
                    ],
                    y=[escape(name) for name in shares],
                    orientation="h",
                    name=kind,
                    marker={"color": COLOURS[i]},
                    hovertemplate=f"%{{y}}<br>{kind}: %{{x:.1f}} %<extra></extra>",
                )
            )
        figure.update_xaxes(title="importance, %")
        figure.update_yaxes(autorange="reversed", automargin=True)
        figure.update_layout(
            barmode="group", legend={"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0.5}
        )
        lay_out(figure, self._head(), 190 + 50 * len(shares))
        return {self.name: figure}

    def terminal(self) -> list[RenderableType]:
        """A table of the shares, or one line that says why there are none."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        if self.scores.why:
            return [Text(f"{self.title}: {self.notes}")]
        shown = Table(title=self.title, caption=self.notes, box=box.SIMPLE_HEAD)
        shown.add_column("setting", style="bold")
        for kind in KINDS:
            shown.add_column(kind, justify="right")
        for name, texts in self.texts().items():
            shown.add_row(name, *texts)
        return [shown]

    def texts(self) -> dict[str, tuple[str, str]]:
        """Shares in per cent; a dash for none."""
        return {name: (_percent(one), _percent(other)) for name, (one, other) in self.shares().items()}

    def _head(self) -> str:
        return f"{self.heading.sweep}: {self.title}\n{self.notes.replace('; ', chr(10))}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def draw_importances(
    points: Sequence[Point], cells: Mapping[str, CellSummary], heading: Heading, space: Mapping[str, Searched]
) -> Importances:
    """Importances of the settings for one metric, from the complete cells."""
    metric = heading.metric
    found = {point.cell: point for point in points if cells[point.cell].complete}
    valued = [(point.labels, cells[cell].mean) for cell, point in found.items()]
    scores = importances(space, valued, metric.mode == "max")
    title = f"Importance of the settings for {metric.name}"
    return Importances("importances", title, "importances", heading, points, cells, (), scores=scores)
