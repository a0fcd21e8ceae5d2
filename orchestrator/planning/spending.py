"""What a sweep has spent, and whether it can afford another trial."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from orchestrator.planning.cost import Costs
from orchestrator.planning.job import Job, Outcome
from orchestrator.planning.plan import Plan
from orchestrator.records.ledger import Ledger
from orchestrator.sweepfile.sweep import Sweep


class Meter:
    """Counts the cost of trials and evaluations, those that run as far as it is expected.

    Args:
        limit: of the cost. spent: before this run. expected: cost of a job, None where nothing is known.
        price: of the seconds of a job. typical: expected cost of a trial that is to do, 0 for unknown.
    """

    def __init__(
        self,
        limit: float,
        spent: float,
        expected: Callable[[Job], float | None],
        price: Callable[[float], float],
        typical: float = 0.0,
    ) -> None:
        self.limit, self.spent, self.expected, self.price = limit, spent, expected, price
        self.typical = typical
        self.running: dict[str, float] = {}
        self.ended: list[float] = []

    @property
    def affords(self) -> bool:
        """Whether a trial more, beside those that run, is expected to stay within the limit."""
        return (
            self.spent + sum(self.running.values()) + self._next() <= self.limit and self.spent < self.limit
        )

    @property
    def words(self) -> str:
        """Why no further trial starts."""
        return f"the budget of cost is used up: {self.spent:.4g} of {self.limit:g}"

    def start(self, job: Job) -> None:
        """A trial was given."""
        expected = self.expected(job)
        self.running[job.key] = self._next() if expected is None else expected

    def pay(self, outcome: Outcome) -> None:
        """Count what an attempt took."""
        self.spent += self.price(outcome.seconds)

    def end(self, job: Job, outcome: Outcome) -> None:
        """A job ended."""
        self.pay(outcome)
        if self.running.pop(job.key, None) is not None and outcome.status != "stopped":
            self.ended.append(self.price(outcome.seconds))

    def _next(self) -> float:
        """Of a trial of which nothing is known: as expected of those to do, else as those that ended."""
        return self.typical or (statistics.fmean(self.ended) if self.ended else 0.0)


def meter_of(sweep: Sweep, planned: Plan, ledger: Ledger) -> Meter | None:
    """The meter of a sweep that limits its cost, with what its earlier runs spent; else None."""
    if sweep.budget.cost is None:
        return None
    costs = Costs(sweep, planned, ledger)

    def expected(job: Job) -> float | None:
        found = costs.of(job)
        return None if found is None else costs.money(found.seconds)

    known = [cost for job in planned.todo if (cost := expected(job)) is not None]
    typical = statistics.fmean(known) if known else 0.0
    spent = costs.money(seconds_spent(sweep, planned, ledger))
    return Meter(sweep.budget.cost, spent, expected, costs.money, typical)


def seconds_spent(sweep: Sweep, planned: Plan, ledger: Ledger) -> float:
    """Seconds of the sweep's trials and evaluations that the ledger holds since the sweep was first run.

    Rows that were there before, as of another sweep, cost it nothing.
    """
    runs = ledger.store.names(f"sweeps/{sweep.name}/runs")
    if not runs:
        return 0.0
    first = runs[0].removesuffix(".yaml")
    jobs = planned.course.jobs if planned.course else planned.jobs
    rows = ledger.read([job.key for job in jobs], rule=sweep.rule)
    looks = ledger.evaluations.read([job.key for job in planned.evaluated.jobs])
    trials = [
        max(row.timings.get("total", 0.0), sum(s for phase, s in row.timings.items() if phase != "total"))
        for row in rows
        if row.finished.replace(":", "") >= first
    ]
    return sum(trials) + sum(one.seconds for one in looks if one.finished.replace(":", "") >= first)
