"""How long trials of a kind take: from the ledger's rows, or from pilots.

A trial's seconds are  unit * passes * steps * epochs + epoch * epochs + fixed,  with the unit (seconds of a
pass over a batch), the seconds of an epoch's evaluation and the fixed ones (data, model, test) each the
median over like trials. What single trials then differ by, as a log ratio, is the spread.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from engine.config import Trial
from orchestrator.planning.workload import Work, work_of
from orchestrator.records.row import Row
from orchestrator.records.store import Store

PRIOR = 0.3
"""Log ratio by which one measurement is off, before others say how much; counted as one of them."""

TAIL = 1.645
"""Of a normal distribution, on either side of 90 %."""

PILOTS = "pilots"
"""Folder of the store that holds what pilots measured."""


@dataclass(frozen=True)
class Measured:
    """One trial's seconds.

    Attributes:
        cell, seed: of the trial. kind: of its work. device: ``cpu``, or the GPU's name. workers: that
            shared it. units: passes over a batch that it made. epochs: that it ran.
        train, evaluate, total: seconds.
    """

    cell: str
    seed: int
    kind: str
    device: str
    workers: int
    units: int
    epochs: int
    train: float
    evaluate: float
    total: float


@dataclass(frozen=True)
class Pace:
    """How fast trials of a kind run: seconds of a pass, of an epoch's evaluation, and fixed ones."""

    unit: float
    epoch: float
    fixed: float
    spread: float = PRIOR
    rows: int = 0

    def seconds(self, units: float, epochs: float) -> float:
        """What a trial takes, without its spread."""
        return self.unit * units + self.epoch * epochs + self.fixed


@dataclass(frozen=True)
class Pilot:
    """What a pilot measured, as the store keeps it."""

    kind: str
    device: str
    unit: float
    epoch: float
    fixed: float
    steps: int
    host: str
    finished: str


@dataclass(frozen=True)
class Estimate:
    """What one trial or evaluation is expected to take.

    Attributes:
        seconds: expected. spread: standard deviation of their logarithm. rows: that it rests on.
        source: the cell's own other seeds, like trials, a pilot; or like evaluations.
        at_most: whether it may end early, and this is the longest.
    """

    seconds: float
    spread: float
    rows: int
    source: Literal["same cell", "like trials", "pilot", "like evaluations"]
    at_most: bool = False

    @property
    def interval(self) -> tuple[float, float]:
        """90 % of trials lie within, the uncertainty of the estimate itself included."""
        factor = math.exp(TAIL * self.spread * math.sqrt(1 + 1 / max(1, self.rows)))
        return self.seconds / factor, self.seconds * factor


def device_kind(device: str) -> str:
    """``cpu`` for every CPU, a GPU by its name."""
    return "cpu" if device.startswith("cpu") else device


def measured(row: Row) -> Measured | None:
    """A row's seconds; None where it has none, or its trial is not legal here."""
    train, epochs = row.timings.get("train", 0.0), len(row.history)
    if not train or not epochs or row.status not in ("completed", "diverged"):
        return None
    try:
        work = work_of(Trial.model_validate(row.trial))
    except ValueError:  # of a plugin or a version that is not here
        return None
    evaluate = row.timings.get("evaluate", 0.0)
    phases = sum(seconds for phase, seconds in row.timings.items() if phase != "total")
    total = max(phases, row.timings.get("total", 0.0))  # a continued trial's total is its last part alone
    units = work.passes * work.steps * epochs
    device = device_kind(row.device)
    return Measured(row.cell, row.seed, work.kind, device, row.workers, units, epochs, train, evaluate, total)


def pace_of(rows: Sequence[Measured]) -> Pace:
    """How fast like trials run, from at least one.

    >>> rows = [Measured("c", s, "k", "cpu", 1, 100, 1, t, 0.0, t) for s, t in enumerate((9.0, 10.0, 11.0))]
    >>> pace = pace_of(rows)
    >>> round(pace.seconds(300, 1), 9), pace.rows, 0.1 < pace.spread < 0.3
    (30.0, 3, True)
    """
    unit = math.exp(statistics.median(math.log(row.train / row.units) for row in rows))
    epoch = statistics.median(row.evaluate / row.epochs for row in rows)
    fixed = statistics.median(max(0.0, row.total - row.train - row.evaluate) for row in rows)
    pace = Pace(unit, epoch, fixed)
    off = [math.log(row.total / pace.seconds(row.units, row.epochs)) for row in rows]
    return Pace(unit, epoch, fixed, spread_of(off), len(rows))


def spread_of(ratios: Sequence[float]) -> float:
    """Root mean square of log ratios, a prior one of :data:`PRIOR` with them.

    A ratio far out, as of a trial that found a cold disk, counts as one at three robust deviations.
    """
    sizes = [abs(ratio) for ratio in ratios]
    most = max(PRIOR, 3 * 1.4826 * statistics.median(sizes)) if sizes else 0.0
    return math.sqrt((PRIOR**2 + math.fsum(min(size, most) ** 2 for size in sizes)) / (len(sizes) or 1))


class Timings:
    """What is known of how long trials take on one kind of device.

    Args:
        rows: of trials. pilots: of the store. gpu: whether trials have a GPU. workers: that share one.
    """

    def __init__(self, rows: Iterable[Measured], pilots: Iterable[Pilot], gpu: bool, workers: int) -> None:
        self.workers = workers
        fitting = [row for row in rows if (row.device != "cpu") is gpu and row.workers == workers]
        self.by_cell = _grouped(fitting, "cell")
        self.by_kind = _grouped(fitting, "kind")
        self.pilots = {one.kind: one for one in pilots if (one.device != "cpu") is gpu}
        self.paces: dict[str, Pace] = {}

    def known(self, work: Work) -> bool:
        """Whether anything is known of this kind."""
        return work.kind in self.by_kind or work.kind in self.pilots

    def estimate(self, cell: str, work: Work) -> Estimate | None:
        """What a trial of a cell takes: from its own other seeds, else like trials, else a pilot."""
        same = [row for row in self.by_cell.get(cell, ()) if row.kind == work.kind]
        pace = pace_of(same) if same else self._pace(work.kind)
        if pace is None:
            return None
        seconds = pace.seconds(work.units, work.epochs)
        source: Literal["same cell", "like trials", "pilot"] = "same cell" if same else "like trials"
        return Estimate(seconds, pace.spread, pace.rows, source if pace.rows else "pilot", work.early)

    def _pace(self, kind: str) -> Pace | None:
        if kind not in self.paces:
            rows, pilot = self.by_kind.get(kind), self.pilots.get(kind)
            if rows:
                self.paces[kind] = pace_of(rows)
            elif pilot:  # made by one worker, of whose passes several share each
                self.paces[kind] = Pace(pilot.unit / self.workers, pilot.epoch / self.workers, pilot.fixed)
        return self.paces.get(kind)


def pilots_of(store: Store) -> list[Pilot]:
    """What pilots measured, the latest of each kind last."""
    contents = (store.get(f"{PILOTS}/{name}") for name in store.names(PILOTS))
    found = [Pilot(**json.loads(content)) for content in contents if content is not None]
    return sorted(found, key=lambda pilot: pilot.finished)


def keep_pilot(store: Store, name: str, pilot: Pilot) -> None:
    """Write down what a pilot measured."""
    store.put(f"{PILOTS}/{name}.json", json.dumps(asdict(pilot), indent=1).encode())


def _grouped(rows: Iterable[Measured], by: Literal["cell", "kind"]) -> Mapping[str, list[Measured]]:
    found: dict[str, list[Measured]] = {}
    for row in rows:
        found.setdefault(getattr(row, by), []).append(row)
    return found
