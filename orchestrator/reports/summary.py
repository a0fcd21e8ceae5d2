"""Trials of one cell brought together: mean, spread and what is missing, never an average in silence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from engine.errors import InputError
from orchestrator.planning.cells import seeds_of
from orchestrator.planning.decisions import t_quantile
from orchestrator.records.metrics import label_of, lower_is_better
from orchestrator.records.row import Row, data_settings

ALL_RUN = ("completed", "diverged", "pruned", "failed")
"""Statuses, from the one that is believed first where a seed has several rows."""


class MetricLike(Protocol):
    """What a cell is judged by: a measure, its direction, and at which checkpoint."""

    @property
    def name(self) -> str:
        """``split.measure``, or ``label.measure`` of an evaluation."""
        ...

    @property
    def mode(self) -> Literal["max", "min"]:
        """Which is better."""
        ...

    @property
    def checkpoint(self) -> str:
        """With which weights it is measured: ``best``, ``last``, of an evaluation also ``best.NAME``."""
        ...


@dataclass(frozen=True)
class Measure:
    """A metric without a sweep file around it."""

    name: str
    mode: Literal["max", "min"] = "max"
    checkpoint: str = "best"


def evaluation_metrics(rows: Iterable[Row]) -> list[Measure]:
    """What the evaluations of some rows measured, each at the checkpoint that it looked at."""
    found: dict[str, Measure] = {}
    for row in rows:
        for label, one in row.evaluations.items():
            for measure in one.metrics:
                name = f"{label}.{measure}"
                mode: Literal["max", "min"] = "min" if lower_is_better(name) else "max"
                found.setdefault(name, Measure(name, mode, one.checkpoint))
    return list(found.values())


@dataclass(frozen=True)
class CellSummary:
    """One cell over its seeds.

    Attributes:
        cell: its key. planned: how many seeds it shall have.
        values: the metric by seed, of completed trials only.
        failures: trials without a value, by class: ``diverged``, ``pruned``, a class of failure
            (``error``, ``out of memory``, ...), one of a failed evaluation (``evaluation error``, ...), or
            ``no value`` when the row lacks the metric. An evaluation that has not been run is missing.
    """

    cell: str
    planned: int
    values: Mapping[int, float] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def n(self) -> int:
        """Trials that have a value."""
        return len(self.values)

    @property
    def missing(self) -> int:
        """Planned trials that have not been run, or not to an end."""
        return self.planned - self.n - self.failures.total()

    @property
    def complete(self) -> bool:
        """Whether every planned seed has a value."""
        return self.n == self.planned

    @property
    def mean(self) -> float:
        """Arithmetic mean over the seeds that have a value; NaN for none."""
        return math.fsum(self.values.values()) / self.n if self.n else math.nan

    @property
    def sd(self) -> float:
        """Sample standard deviation (divisor n - 1); NaN for fewer than two values."""
        if self.n < 2:
            return math.nan
        mean = self.mean
        return math.sqrt(math.fsum((value - mean) ** 2 for value in self.values.values()) / (self.n - 1))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean, ``mean ± t(0.975, n-1) sd / sqrt(n)``; NaN for fewer than two."""
        if self.n < 2:
            return math.nan, math.nan
        half = t_quantile(0.95, self.n - 1) * self.sd / math.sqrt(self.n)
        return self.mean - half, self.mean + half

    @property
    def extremes(self) -> tuple[float, float]:
        """Smallest and largest value; NaN for none."""
        return (min(self.values.values()), max(self.values.values())) if self.n else (math.nan, math.nan)

    @property
    def mark(self) -> str:
        """Why values are missing, in words: ``diverged``, ``2 out of memory, 1 error``, or empty."""
        if len(self.failures) == 1 and (self.failures.total() == 1 or not self.n):
            return next(iter(self.failures))
        return ", ".join(f"{count} {kind}" for kind, count in self.failures.most_common())


def summarise(
    cells: Iterable[str], rows: Iterable[Row], metric: MetricLike, seeds: Sequence[int]
) -> dict[str, CellSummary]:
    """Summarise cells over the planned seeds.

    Args:
        cells: keys of the cells, each once or more; the result has them in this order.
        rows: rows of the ledger; those of other cells or other seeds are passed over. Where a seed has
            several, a completed one is taken before a failed one, then the latest.
        metric: which value of a row counts. seeds: the planned seeds.

    Raises:
        InputError: rows of different engine contracts, or of data that changed under the same settings.

    >>> row = Row("k0", "c", 0, "completed", {}, {}, best={"val.accuracy": 0.9})
    >>> found = summarise(["c"], [row], Measure("val.accuracy"), seeds=[0, 1])["c"]
    >>> found.n, found.planned, found.mean, found.missing
    (1, 2, 0.9, 1)
    """
    keys = list(dict.fromkeys(cells))
    chosen = chosen_rows(keys, rows, seeds)
    check_comparable(chosen)
    values: dict[str, dict[int, float]] = {key: {} for key in keys}
    failures: dict[str, Counter[str]] = {key: Counter() for key in keys}
    for row in chosen:
        value = metric_value(row, metric)
        if value is not None and math.isfinite(value):
            values[row.cell][row.seed] = value
        elif not to_be_evaluated(row, metric):
            failures[row.cell][failure_mark(row, metric)] += 1
    return {
        key: CellSummary(key, len(seeds_of(seeds, key)), dict(sorted(values[key].items())), failures[key])
        for key in keys
    }


def chosen_rows(cells: Iterable[str], rows: Iterable[Row], seeds: Sequence[int]) -> list[Row]:
    """The row that counts for each cell and planned seed, in the order of cells, then seeds."""
    order = {cell: i for i, cell in enumerate(dict.fromkeys(cells))}
    planned = {seed: i for i, seed in enumerate(dict.fromkeys(seeds))}
    found: dict[tuple[int, int], Row] = {}
    for row in rows:
        if row.cell not in order or row.seed not in planned:
            continue
        place = order[row.cell], planned[row.seed]
        if place not in found or _trust(row) > _trust(found[place]):
            found[place] = row
    return [found[place] for place in sorted(found)]


def metric_value(row: Row, metric: MetricLike) -> float | None:
    """The metric of a completed trial; None for another status, or where the row lacks it."""
    if row.status != "completed":
        return None
    return row.measured(metric.checkpoint).get(metric.name)


def to_be_evaluated(row: Row, metric: MetricLike) -> bool:
    """Whether the metric is of an evaluation that this completed trial still lacks."""
    label = label_of(metric.name)
    return bool(label) and row.status == "completed" and label not in row.evaluations


def failure_mark(row: Row, metric: MetricLike | None = None) -> str:
    """Class of a trial that has no value, in words."""
    if row.status == "failed":
        return row.failure or "error"
    evaluation = row.evaluations.get(label_of(metric.name)) if metric is not None else None
    if evaluation is not None and evaluation.status == "failed":
        return f"evaluation {evaluation.failure or 'error'}"
    return "no value" if row.status == "completed" else row.status


def check_comparable(rows: Iterable[Row]) -> None:
    """Refuse rows whose numbers must not stand in one table, their evaluations' included.

    Raises:
        InputError: two engine contracts, or one data set under the same settings with two contents.
    """
    sources = [source for row in rows for source in _sources(row)]
    _one(sources, lambda source: "", lambda source: source.contract, "contract")
    _one(sources, lambda source: source.data, lambda source: source.data_hash, "data_hash")


class _Source(NamedTuple):
    """Where numbers come from: a trial, or an evaluation of it; what an old row does not say is empty."""

    name: str
    contract: str
    data: str
    data_hash: str


def _sources(row: Row) -> Iterator[_Source]:
    trial, data = f"trial {row.key[:12]}", data_settings(row.canonical)
    yield _Source(trial, str(row.contract), data, row.data_hash)
    for label, one in row.evaluations.items():
        contract = str(one.contract) if one.contract else ""
        yield _Source(f"{label} of {trial}", contract, data, one.data_hash)


def _one(
    sources: list[_Source], group: Callable[[_Source], str], value: Callable[[_Source], str], name: str
) -> None:
    seen: dict[str, _Source] = {}
    for source in sources:
        if not value(source):
            continue
        first = seen.setdefault(group(source), source)
        if value(source) != value(first):
            raise InputError(
                name,
                f"{value(first)[:12]} of {first.name}, {value(source)[:12]} of {source.name}",
                "one for all rows of a table; `perturb ledger verify` sets rows aside that are not what "
                "their keys say, and the next run computes them",
            )


def _trust(row: Row) -> tuple[int, str]:
    return -ALL_RUN.index(row.status), row.finished
