"""Figures of what evaluations found: landscapes, perturbed losses, robust accuracy, histograms, features.

Each takes the rows of an evaluation's table (lists of plain records) by run, and returns a matplotlib figure.
Several seeds of one run are drawn as their mean with the range from the smallest to the largest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.reports.figures import COLOURS, DASHES, DPI, MARKERS
from orchestrator.reports.layout import spans

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = Mapping[str, Any]
Table = Sequence[Record]
Runs = Mapping[str, Sequence[Table]]
"""The tables of each run, one a seed, by the name in the legend."""

FILTERS = "relative to each filter's norm"
MOST_LEVELS = 12
DECADE = 10.0


@dataclass(frozen=True)
class Caption:
    """What stands over a figure.

    Attributes:
        title: what is shown. examples: how many examples every value is measured on; 0 says nothing.
        note: data, model, attack: whatever else identifies the runs.
    """

    title: str
    examples: int = 0
    note: str = ""

    def text(self, tables: int, directions: int = 0) -> str:
        """Title, then numbers of seeds, directions and examples, then the note."""
        counts = [f"{tables} seed{'s' * (tables != 1)}"] if tables else []
        counts += [f"{directions} direction{'s' * (directions != 1)}"] if directions else []
        counts += [f"n = {self.examples:,} examples"] if self.examples else []
        return "\n".join(filter(None, (self.title, ", ".join(counts), self.note)))


def lines(
    runs: Runs,
    caption: Caption,
    y: Literal["loss", "relative", "accuracy"] = "loss",
    alpha: str = f"α, {FILTERS}",
) -> Figure:
    """Loss along lines through the weights: mean and range over seeds and directions.

    Args:
        runs: tables ``landscape`` of one dimension. alpha: label of the x-axis.

    Source: AWP, Fig. 1, 2(c) and 5.
    """
    figure, axes = _figure()
    for i, (name, tables) in enumerate(runs.items()):
        points = [(row["alpha"], _shown(row[y], y)) for table in tables for row in table]
        _mean_and_range(axes, i, name, points, marker=False)
    directions = {row["direction"] for tables in runs.values() for table in tables for row in table}
    axes.set(xlabel=alpha, ylabel=_unit(y))
    return _finish(figure, axes, caption.text(_seeds(runs), len(directions)))


def contours(
    runs: Mapping[str, Table],
    caption: Caption,
    z: Literal["loss", "relative", "accuracy"] = "loss",
    direction: int = 0,
    highest: float | None = None,
    alpha: str = f"α, {FILTERS}",
) -> Figure:
    """Filled contours over a plane through the weights, one panel a run, all on one scale of colour.

    Args:
        runs: tables ``landscape`` of two dimensions. direction: which of their planes.
        highest: end of the scale; all above it has one colour. None takes the largest value. Points that
            are not finite stay white. alpha: label of the x-axis.

    Source: DropAttack, Fig. 3 and 5; AWP, Fig. 6 (``relative``).
    """
    import numpy as np
    from matplotlib.figure import Figure

    panels = {
        name: _grid([r for r in table if r["direction"] == direction], z) for name, table in runs.items()
    }
    values = np.concatenate([grid[2].ravel() for grid in panels.values()])
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max() if highest is None else highest)
    levels = np.linspace(low, high if high > low else low + 1, MOST_LEVELS + 1)
    extend: Literal["max", "neither"] = "max" if high < float(values.max()) else "neither"
    figure = Figure(figsize=(1.2 + 3.9 * len(panels), 4.9), dpi=DPI, layout="constrained")
    row = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (name, (alphas, betas, grid)) in zip(row, panels.items(), strict=True):
        # The axis of a matplotlib contour is the column: alpha runs to the right.
        shown = np.ma.masked_invalid(grid.T)
        image = axes.contourf(alphas, betas, shown, levels=levels, cmap="viridis", extend=extend)
        axes.contour(alphas, betas, shown, levels=levels, colors="white", linewidths=0.4, alpha=0.6)
        axes.plot(0, 0, marker="x", color="#D55E00", markersize=7)
        axes.set_title(name, fontsize=9)
        axes.set(xlabel=alpha)
    row[0].set_ylabel(f"β, {FILTERS}")
    above = "; at the tip all above" if extend == "max" else ""
    figure.colorbar(image, ax=list(row), label=_unit(z) + above, pad=0.02, format="%.3g")
    figure.suptitle(caption.text(1, 0) + "\n× trained weights", fontsize=10, x=0.02, ha="left")
    return figure


def sizes(runs: Runs, caption: Caption, y: Literal["loss", "accuracy"] = "loss") -> Figure:
    """Loss against the size of weight perturbations: mean and range over seeds and random draws.

    Args:
        runs: tables ``weight_perturbation``. Adversarial lines are solid, random ones dashed.

    Source: AWP, Fig. 3(a).
    """
    figure, axes = _figure()
    for i, (name, tables) in enumerate(runs.items()):
        for kind, dash in (("adversarial", "solid"), ("random", "dashed")):
            rows = [row for table in tables for row in table if row["kind"] == kind and row["gamma"] > 0]
            points = [(row["gamma"], _shown(row[y], y)) for row in rows]
            _mean_and_range(axes, i, f"{name}, {kind}", points, dash=dash)
        start = [_shown(row[y], y) for table in tables for row in table if row["gamma"] == 0]
        axes.axhline(fmean(start), color=COLOURS[i % len(COLOURS)], linewidth=0.8, alpha=0.5)
    rows = [row for tables in runs.values() for table in tables for row in table]
    draws = len({row["draw"] for row in rows if row["kind"] == "random"})
    if spans([row["gamma"] for row in rows if row["gamma"] > 0], DECADE):
        axes.set_xscale("log")
    if y == "loss" and spans([row["loss"] for row in rows if row["loss"] > 0], 100):
        axes.set_yscale("log")
    axes.set(xlabel="γ = ||v|| / ||w|| of each layer", ylabel=_unit(y))
    text = caption.text(_seeds(runs)) + (f"\n{draws} random draws" if draws else "")
    return _finish(figure, axes, f"{text}; horizontal: γ = 0")


def robustness(runs: Runs, caption: Caption, unit: str = "pixels in [0, 1]") -> Figure:
    """Robust accuracy against the radius of the attack: mean and range over seeds.

    Args:
        runs: for each seed rows with ``epsilon`` and ``accuracy`` (a fraction). unit: of epsilon.

    Source: Adaptive Adversarial Training, Fig. 1-3.
    """
    figure, axes = _figure()
    for i, (name, tables) in enumerate(runs.items()):
        points = [(row["epsilon"], 100 * row["accuracy"]) for table in tables for row in table]
        _mean_and_range(axes, i, name, points)
    axes.set(xlabel=f"ε, {unit}", ylabel="robust accuracy, %")
    axes.set_ylim(bottom=0)
    return _finish(figure, axes, caption.text(_seeds(runs)))


def histograms(
    runs: Mapping[str, Table], caption: Caption, x: str = "weight value", log: bool = False
) -> Figure:
    """Densities of one layer's values in several runs.

    Args:
        runs: rows with ``low``, ``high`` and ``count``, of one layer. x: label of the x-axis.
        log: a logarithmic y-axis, for activations that are mostly zero.

    Source: AWP, Fig. 4; AdD, Fig. 3.
    """
    figure, axes = _figure()
    for i, (name, table) in enumerate(runs.items()):
        total = sum(row["count"] for row in table) or 1
        edges = [table[0]["low"], *(row["high"] for row in table)]
        heights = [row["count"] / total / (row["high"] - row["low"]) for row in table]
        colour = COLOURS[i % len(COLOURS)]
        axes.stairs(heights, edges, color=colour, label=f"{name} ({total:,} values)", linewidth=1.4)
        axes.stairs(heights, edges, color=colour, fill=True, alpha=0.15)
    if log:
        axes.set_yscale("log")
    axes.set(xlabel=x, ylabel="density")
    return _finish(figure, axes, caption.text(1))


def features(table: Table, caption: Caption, columns: int = 16) -> Figure:
    """Weights of units as a grid of images, on one scale of grey with zero in its middle.

    Args:
        table: rows of ``features``; three channels are drawn in colour, of others their mean.

    Source: AdD, Fig. 2.
    """
    import numpy as np
    from matplotlib.figure import Figure

    w_UCIJ = _images(table)
    units, channels = w_UCIJ.shape[:2]
    size = float(np.abs(w_UCIJ).max()) or 1.0
    columns = min(columns, units)
    rows = -(-units // columns)
    figure = Figure(figsize=(max(4.2, 0.55 * columns), 1.1 + 0.55 * rows), dpi=DPI, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, w_CIJ in zip(grid.flat, w_UCIJ, strict=False):
        if channels == 3:
            axes.imshow((np.moveaxis(w_CIJ, 0, -1) / size + 1) / 2)
        else:
            axes.imshow(w_CIJ.mean(0), cmap="gray", vmin=-size, vmax=size)
    text = f"{units} units; grey is 0, white {size:.3g}, black -{size:.3g}"
    heading = "\n".join(filter(None, (caption.title, caption.note, text)))
    figure.suptitle(heading, fontsize=10, x=0.02, ha="left")
    return figure


def _figure() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.8), dpi=DPI)
    return figure, figure.add_subplot()


def _finish(figure: Figure, axes: Axes, heading: str) -> Figure:
    axes.set_title(heading, fontsize=10, loc="left")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9)
    figure.set_layout_engine("tight")
    return figure


def _mean_and_range(
    axes: Axes,
    i: int,
    name: str,
    points: Sequence[tuple[float, float]],
    marker: bool = True,
    dash: str | None = None,
) -> None:
    """A line through the means of the values at each x, a band from the smallest to the largest."""
    if not points:
        return
    xs = sorted({x for x, _ in points})
    groups = [[value for at, value in points if at == x] for x in xs]
    colour = COLOURS[i % len(COLOURS)]
    style: dict[str, Any] = {"color": colour, "linestyle": dash or DASHES[(i // len(COLOURS)) % len(DASHES)]}
    if marker:
        style |= {"marker": MARKERS[i % len(MARKERS)], "markersize": 5}
    several = max(map(len, groups)) > 1
    axes.plot(xs, list(map(fmean, groups)), label=name + (" (mean, range)" if several else ""), **style)
    if several:
        low, high = (list(map(pick, groups)) for pick in (min, max))
        axes.fill_between(xs, low, high, color=colour, alpha=0.18, linewidth=0)


def _seeds(runs: Runs) -> int:
    return max((len(tables) for tables in runs.values()), default=0)


def _unit(name: str) -> str:
    units = {"loss": "loss g, nats", "relative": "|g - g(0)|, nats", "accuracy": "accuracy, %"}
    return units[name]


def _shown(value: float, name: str) -> float:
    return 100 * value if name == "accuracy" else value


def _grid(rows: Table, z: str) -> tuple[Any, Any, Any]:
    """alphas_A, betas_B and values_AB of one plane."""
    import numpy as np

    alphas, betas = (sorted({row[name] for row in rows}) for name in ("alpha", "beta"))
    grid_AB = np.full((len(alphas), len(betas)), np.nan)
    for row in rows:
        grid_AB[alphas.index(row["alpha"]), betas.index(row["beta"])] = _shown(row[z], z)
    return np.array(alphas), np.array(betas), grid_AB


def _images(table: Table) -> Any:
    """w_UCIJ of the rows."""
    import numpy as np

    places = ("unit", "channel", "row", "column")
    w_UCIJ = np.zeros([1 + max(int(row[name]) for row in table) for name in places])
    for row in table:
        w_UCIJ[tuple(int(row[name]) for name in places)] = row["value"]
    return w_UCIJ
