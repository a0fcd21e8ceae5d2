"""Evaluations as jobs: what is asked of which trial, and what of it is done, to do, or impossible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from engine.config import Trial
from engine.errors import InputError, did_you_mean
from engine.evaluations.base import EvaluationConfig
from engine.identity import EvaluationKeys, Seeds
from orchestrator.planning.cells import Cell, Point
from orchestrator.planning.job import Job
from orchestrator.records.evaluation import EvaluationRow
from orchestrator.records.ledger import Ledger
from orchestrator.records.row import Row, Status
from orchestrator.sweepfile.evaluations import refused
from orchestrator.sweepfile.problems import Problem
from orchestrator.sweepfile.sweep import Sweep

State = Literal["completed", "failed", "waits", "impossible"]
"""Of an evaluation: as its row says; or it waits to be run; or the weights that it needs were not kept."""


@dataclass(frozen=True)
class Evaluated:
    """The evaluations of a sweep against the ledger.

    Attributes:
        jobs: every one, but those of trials that diverged or were pruned, which leave no weights.
        state: of each, by key.
    """

    jobs: tuple[Job, ...] = ()
    state: Mapping[str, State] = field(default_factory=dict)

    @property
    def todo(self) -> list[Job]:
        """Those never run, and those that failed."""
        return [job for job in self.jobs if self.state[job.key] in ("waits", "failed")]

    @property
    def impossible(self) -> list[Job]:
        """Those whose trial is done and kept no weights."""
        return [job for job in self.jobs if self.state[job.key] == "impossible"]

    def counts(self) -> dict[str, int]:
        """Numbers of evaluations by what the ledger says of them; nothing where none is asked for."""
        if not self.jobs:
            return {}
        states = Counter(self.state.values())
        return {
            "evaluations": len(self.jobs),
            "done": states["completed"],
            "failed": states["failed"],
            "todo": states["waits"] + states["failed"],
            "impossible": states["impossible"],
        }


def check(sweep: Sweep, cells: Iterable[Cell]) -> None:
    """Refuse, before anything is trained, what the data or the model of a trial cannot be evaluated by.

    Raises:
        SweepError: each evaluation that does not apply, once.
    """
    problems: dict[int, Problem] = {}
    for cell in cells:
        data, model = cell.trial.data.info(), cell.trial.model_info
        there = checkpoints_of(cell.trial)
        for i, one in enumerate(sweep.asked):
            try:
                if one.checkpoint not in there:
                    raise InputError("checkpoint", repr(one.checkpoint), did_you_mean(one.checkpoint, there))
                one.check(data, model)
            except InputError as error:
                problem = refused(sweep, i, error)
                of = f"{problem.text} (for {cell.trial.model['name']} on {cell.trial.data.name})"
                problems.setdefault(i, replace(problem, text=of))
    sweep.source.fail(problems.values())


def checkpoints_of(trial: Trial) -> list[str]:
    """Names of the weights that a trial can keep, as :func:`engine.watch.contests` and the last epoch's."""
    return ["best", "last", *(f"best.{name}" for name in (*trial.attacks, *["test"] * trial.watch_test))]


def evaluations_of(cells: Iterable[Cell], sweep: Sweep, points: Sequence[Point]) -> list[Job]:
    """The evaluations of all seeds of some cells, trial by trial."""
    labels: dict[str, dict[str, object]] = {}
    for point in points:
        labels.setdefault(point.cell, dict(point.labels))
    asked = _asked(sweep)
    cells = list(cells) if asked else []
    return [
        job
        for seed in sweep.seeds
        for cell in cells
        for job in _of_trial(cell.seeds, seed, cell.key, labels.get(cell.key, {}), asked)
    ]


Asked = list[tuple[EvaluationConfig, EvaluationKeys, dict[str, Any]]]
"""Evaluations, what they are called, and their settings as plain values."""


def _asked(sweep: Sweep) -> Asked:
    return [(one, EvaluationKeys(one), one.model_dump(mode="json")) for one in sweep.asked]


def _of_trial(seeds: Seeds, seed: int, cell: str, labels: dict[str, object], asked: Asked) -> list[Job]:
    key, settings = seeds.key(seed), seeds.settings(seed)
    return [
        Job(
            key=keys.key(key),
            cell=cell,
            seed=seed,
            trial=settings,
            canonical=keys.canonical(key),
            data_hash=seeds.data_hash,
            labels=labels,
            parent=key,
            checkpoint=one.checkpoint,
            evaluation=given,
        )
        for one, keys, given in asked
    ]


def evaluated(jobs: Sequence[Job], trials: Mapping[str, Status], ledger: Ledger) -> Evaluated:
    """What the ledger says of evaluations.

    Args:
        jobs: the evaluations. trials: status of the trials that the ledger holds and that are not to be
            trained again. ledger: of the store.
    """
    if not jobs:
        return Evaluated()
    index = ledger.evaluations.index()
    left = {job.key for job in jobs if index.get(job.key) != "completed"}
    there = weights(ledger, {job.parent or "" for job in jobs if job.key in left})
    state: dict[str, State] = {}
    for job in jobs:
        trial, known = trials.get(job.parent or ""), index.get(job.key)
        if known == "completed":
            state[job.key] = "completed"
        elif trial == "completed" and (job.parent, job.checkpoint) not in there:
            state[job.key] = "impossible"
        elif trial not in ("diverged", "pruned"):  # these have nothing to look at
            state[job.key] = "failed" if known == "failed" else "waits"
    return Evaluated(tuple(job for job in jobs if job.key in state), state)


def impossible(evaluated: Evaluated) -> list[str]:
    """One line for each checkpoint that evaluations need and trials did not keep."""
    lacking = Counter((job.label, job.checkpoint) for job in evaluated.impossible)
    return [
        f"{label}: impossible for {count} {'trial' if count == 1 else 'trials'}, which kept no {checkpoint} "
        f"weights; train {'it' if count == 1 else 'them'} again with: perturb run SWEEP --retrain"
        for (label, checkpoint), count in lacking.items()
    ]


def weights(ledger: Ledger, trials: Iterable[str]) -> set[tuple[str, str]]:
    """(trial, checkpoint) of the weights that the store keeps."""
    folders = set(ledger.store.names("checkpoints"))
    return {
        (trial, name.removesuffix(".pt"))
        for trial in trials
        if trial in folders
        for name in ledger.store.names(f"checkpoints/{trial}")
    }


def without_weights(jobs: Sequence[Job], trials: Mapping[str, Status], ledger: Ledger) -> set[str]:
    """Trials that are completed, and kept no weights for an evaluation that is not done."""
    impossible = evaluated(jobs, trials, ledger).impossible
    return {job.parent for job in impossible if job.parent is not None}


def attach(rows: Sequence[Row], jobs: Sequence[Job], ledger: Ledger) -> list[Row]:
    """Rows with the evaluations that jobs stand for, as far as the ledger holds them."""
    if not jobs:
        return list(rows)
    wanted = {row.key for row in rows}
    mine = [job for job in jobs if job.parent in wanted]
    found = {one.key: one for one in ledger.evaluations.read([job.key for job in mine])}
    by_trial: dict[str, dict[str, EvaluationRow]] = {}
    for job in mine:
        if job.key in found:
            by_trial.setdefault(job.parent or "", {})[job.label] = found[job.key]
    return [replace(row, evaluations=by_trial.get(row.key, {})) for row in rows]


def jobs_of_row(row: Row, sweep: Sweep) -> list[Job]:
    """The evaluations that a sweep asks of a trial in the ledger; none where it is no longer legal."""
    if not sweep.asked:
        return []
    try:
        trial = Trial.model_validate(row.trial)
    except ValueError:
        return []
    seeds = Seeds(trial)
    return _of_trial(seeds, row.seed, row.cell, {}, _asked(sweep)) if seeds.key(row.seed) == row.key else []
