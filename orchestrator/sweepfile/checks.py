"""What the blocks of a sweep say of each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

from engine.errors import did_you_mean
from orchestrator.records.metrics import label_of, trial_metrics
from orchestrator.sweepfile.dimensions import POINT, dimensions
from orchestrator.sweepfile.parts import Metric, repeated
from orchestrator.sweepfile.populations import population_problems
from orchestrator.sweepfile.problems import Problem, illegal
from orchestrator.sweepfile.replicates import price_problems, replicate_problems
from orchestrator.sweepfile.search_checks import check_search
from orchestrator.sweepfile.yaml_file import Where

if TYPE_CHECKING:
    from orchestrator.sweepfile.sweep import Sweep


def check(sweep: Sweep) -> list[Problem]:
    """Everything that contradicts itself in a sweep whose blocks are legal one by one."""
    checks = (_seeds, _axes, _zips, _twice, _metrics, _search, check_search, _budget, _scheduler, _reports,
              replicate_problems, price_problems, population_problems)  # fmt: skip
    return [problem for one in checks for problem in one(sweep)]


def _seeds(sweep: Sweep) -> Iterator[Problem]:
    if "seed" in sweep.trial:
        yield Problem(("trial", "seed"), "is not legal here: seeds: n stands at the top of the file")
    twice = repeated(sweep.seeds)
    if twice is not None:
        yield Problem(("seeds", twice), illegal(sweep.seeds[twice], "seeds that differ"))


def _axes(sweep: Sweep) -> Iterator[Problem]:
    for where, values in dimensions(sweep).values():
        twice = repeated(values) if where[0] == "axes" else None
        if twice is not None:
            yield Problem(
                (*where, twice), illegal(values[twice], "values that differ; this one stands twice")
            )


def _zips(sweep: Sweep) -> Iterator[Problem]:
    for i, group in enumerate(sweep.zip):
        rows = list(zip(*group.values(), strict=False))
        lengths = {name: len(values) for name, values in group.items()}
        if not lengths:
            yield Problem(("zip", i), "is not legal: at least one list")
        elif len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            yield Problem(("zip", i), f"is not legal: lists of one length; {shown}")
        elif (twice := repeated(rows)) is not None:
            yield Problem(("zip", i), illegal(list(rows[twice]), "rows that differ; this one stands twice"))


def _twice(sweep: Sweep) -> Iterator[Problem]:
    """A setting has one place besides the base trial."""
    seen: dict[str, str] = {}
    for name, place in _settings(sweep):
        problem = Problem(place, "")
        if name == "seed":
            yield Problem(place, "is not legal here: seeds: n stands at the top of the file")
        elif name in seen:
            yield Problem(place, f"is not legal: a setting stands in one axis; it is in {seen[name]} too")
        seen.setdefault(name, problem.name)


def _settings(sweep: Sweep) -> Iterator[tuple[str, Where]]:
    for name in sweep.axes:
        yield name, ("axes", name)
    for i, group in enumerate(sweep.zip):
        for name in group:
            yield name, ("zip", i, name)
    told = set()
    for point, settings in sweep.points.items():
        for name in settings:
            if name not in told:  # points set the same settings, each its own value
                told.add(name)
                yield name, ("points", point, name)
    for name in sweep.search:
        yield name, ("search", name)


def _metrics(sweep: Sweep) -> Iterator[Problem]:
    """A metric is a trial's, or one of an evaluation of this sweep, whose measures only it knows."""
    labels = [one.label for one in sweep.asked]
    known = trial_metrics(_attacks(sweep))
    led = _goals(sweep)
    if sweep.objectives and sweep.metric is not sweep.objectives[0]:
        led.append((("metric",), sweep.metric))
    named: list[tuple[Where, str]] = [((*place, "name"), metric.name) for place, metric in led]
    named += [(("reports", i, "metric"), one.metric) for i, one in enumerate(sweep.reports) if one.metric]
    for place, name in named:
        if name not in known and label_of(name) not in labels:
            measure = name.partition(".")[2] or "accuracy"
            legal = did_you_mean(name, [*known, *(f"{label}.{measure}" for label in labels)])
            yield Problem(place, illegal(name, f"{legal}; LABEL.MEASURE of one of the sweep's evaluations"))
    for one, (place, metric) in product(sweep.asked, led):
        given, explicit = metric.checkpoint, "checkpoint" in metric.model_fields_set
        if one.label == label_of(metric.name) and explicit and given != one.checkpoint:
            legal = f"{one.checkpoint!r}, which {one.label} evaluates; or left out"
            yield Problem((*place, "checkpoint"), illegal(given, legal))


def _goals(sweep: Sweep) -> list[tuple[Where, Metric]]:
    """What a search is led by, with its places."""
    several: list[tuple[Where, Metric]] = [(("objectives", i), one) for i, one in enumerate(sweep.objectives)]
    return several or [(("metric",), sweep.metric)]


def _attacks(sweep: Sweep) -> list[str]:
    """Names of the attacks under which its trials validate."""
    blocks = [sweep.trial.get("attacks"), *(point.get("attacks") for point in sweep.points.values())]
    return list(dict.fromkeys(name for block in blocks if isinstance(block, Mapping) for name in block))


def of_test(sweep: Sweep) -> bool:
    """Whether what the sweep is led by is measured on test examples."""
    return any(_on_test(sweep, one) for one in sweep.goals)


def _on_test(sweep: Sweep, metric: Metric) -> bool:
    looking = {one.label for one in sweep.asked if "test" in (one.split, one.checkpoint.partition(".")[2])}
    return metric.name.startswith("test.") or label_of(metric.name) in looking


def _search(sweep: Sweep) -> Iterator[Problem]:
    if not sweep.search:
        return
    for block in ("axes", "zip", "points"):
        if getattr(sweep, block):
            legal = "a search or a grid; make the axis a searched setting: {choice: [...]}"
            yield Problem((block,), f"is not legal beside search: {legal}")
    for goal, metric in _goals(sweep):
        if _on_test(sweep, metric) and not sweep.allow_test_selection:
            legal = "a val metric, or allow_test_selection: true, which every report then says"
            yield Problem((*goal, "name"), illegal(metric.name, legal))
    before: dict[str, Any] = {}
    for name, searched in sweep.search.items():
        for other, values in searched.when.items():
            place: Where = ("search", name, "when", other)
            if other not in before:
                legal = f"a searched setting that stands before it; {did_you_mean(other, list(before))}"
                yield Problem(place, f"is not legal: {legal}")
            elif not _possible(before[other], values):
                yield Problem(place, illegal(values, f"a value that {other} can have"))
        before[name] = searched


def _possible(searched: Any, values: Any) -> bool:
    """Whether a searched setting can have each of these values."""
    wanted = values if isinstance(values, list) else [values]
    if searched.kind == "choice":
        return all(value in searched.choice for value in wanted)
    low, high = searched.bounds
    return all(type(v) in (int, float) and low <= v <= high for v in wanted)


def _budget(sweep: Sweep) -> Iterator[Problem]:
    if not sweep.search:
        return
    trials, seeds = sweep.budget.trials, len(sweep.seeds)
    if trials is None:
        yield Problem(("budget", "trials"), "is missing: a search needs one, e.g. budget: {trials: 100}")
    elif trials < seeds:
        yield Problem(
            ("budget", "trials"), illegal(trials, f"a whole number >= {seeds}, the seeds of one cell")
        )


def _scheduler(sweep: Sweep) -> Iterator[Problem]:
    """It compares trials after every epoch, by what they measure then."""
    if sweep.scheduler is None:
        return
    known = [name for name in trial_metrics(_attacks(sweep)) if name.startswith("val.")]
    if sweep.watched not in known:
        place: Where = ("scheduler", "metric") if sweep.scheduler.metric else ("scheduler",)
        legal = f"a metric of every epoch, scheduler: {{metric: ...}}; {did_you_mean(sweep.watched, known)}"
        yield Problem(place, illegal(sweep.watched, legal))


def _reports(sweep: Sweep) -> Iterator[Problem]:
    axes = dimensions(sweep)
    for i, report in enumerate(sweep.reports):
        if sweep.search:
            yield from _search_report(sweep, i)
            continue
        if report.table and not sweep.points:
            yield Problem(("reports", i, "table"), "is not legal: a table of points needs points")
        kind = "grid" if report.grid else "curve"
        known = [*axes, POINT] if sweep.points and report.grid else list(axes)
        for axis in report.axes:
            if axis not in known:
                legal = f"an axis of this sweep; {did_you_mean(axis, known)}"
                yield Problem(("reports", i, kind), illegal(axis, legal))
        if report.curve in axes and not all(type(v) in (int, float) for v in axes[report.curve][1]):
            yield Problem(("reports", i, "curve"), illegal(report.curve, "an axis of numbers"))


def _search_report(sweep: Sweep, i: int) -> Iterator[Problem]:
    """A search draws its cells over two searched numbers, as a scatter in place of a grid."""
    report = sweep.reports[i]
    if not report.grid:
        yield Problem(("reports", i), "is not legal for a search: {grid: [x, y]} of two searched numbers")
        return
    known = [name for name, searched in sweep.search.items() if searched.kind != "choice"]
    for axis in report.grid:
        if axis not in known:
            legal = f"a searched number; {did_you_mean(axis, known)}"
            yield Problem(("reports", i, "grid"), illegal(axis, legal))
