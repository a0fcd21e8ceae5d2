"""The Optuna study of a search: one Optuna trial a cell, in memory or where ``optuna-dashboard`` sees it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from engine.errors import InputError
from orchestrator.planning.results import Result, Vector
from orchestrator.planning.samplers import first_generation, quiet, sampler_of, storage_of
from orchestrator.planning.space import Settings, distribution, kept, suggest
from orchestrator.records.store import Store
from orchestrator.sweepfile.sweep import Sweep

if TYPE_CHECKING:
    import optuna

Known = Mapping[str, tuple[Settings, Result]]
"""Cells with their settings and what they came to."""

STORE, CELL = "store", "cell"
"""Attributes: whose study it is; which cell a trial is."""


class Study:
    """A study that agrees with the ledger.

    A persistent study is taken up where a driver left it: trials of cells that are settled by now are told,
    those of cells that are still to do stay under way, other unfinished ones are failed, and what the study
    lacks is added. One that contradicts the ledger is made anew from it: also where it holds a cell as pruned
    that is to be run again, so that TPE does not learn from what another rule ended.

    Optuna's samplers learn from completed trials, TPE from pruned ones too, and none from failed ones: a cell
    that failed or diverged is never proposed again, but its neighbours may be.

    Args:
        sweep: the search. store: its results are in. known: cells that are told beforehand. asked: cells that
            it asked for before and that are still to do. count: of all cells that it asked for before.

    Attributes:
        under_way: numbers of the unfinished trials of cells in ``asked``.

    Raises:
        InputError: the storage does not answer, or holds a study of this name that is another's.
    """

    def __init__(
        self, sweep: Sweep, store: Store, known: Known, asked: Container[str] = (), count: int = 0
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.sweep = sweep
        self.owner = {STORE: store.location}
        self.storage = storage_of(sweep.sampling, store)
        told = [self._frozen(*one) for one in known.values() if one[1].means is not None]
        self.sampler = sampler_of(sweep, count, told)
        self.study = self._load()
        self.interrupted = False
        self.under_way: dict[str, int] = {}
        present = self._take_up(known, asked)
        if present is None:
            optuna.delete_study(study_name=sweep.name, storage=self.storage)
            self.study, present, self.under_way = self._load(), set(), {}
        for cell, (settings, result) in known.items():
            if (result.means is not None or result.pruned) and cell not in present:
                self.study.add_trial(self._frozen(settings, result, cell))

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All of it, as Optuna has it."""
        return self.study.trials

    def first(self, settings: Mapping[str, Any]) -> None:
        """Propose these settings before any is sampled; those left out are sampled."""
        self.study.enqueue_trial(kept(settings, self.sweep.search))

    def propose(self) -> tuple[int, Settings]:
        """A trial's number, and a value for each searched setting; after an outage that of the same trial."""
        with self._asking():
            trial = self._left_behind() or self.study.ask()
            settings = suggest(trial, self.sweep.search)
        self.interrupted = False
        return trial.number, settings

    def propose_at(self, settings: Mapping[str, Any]) -> int:
        """A trial at these settings; its number."""
        with answering():
            self.first(settings)
        return self.propose()[0]

    def mark(self, number: int, cell: str) -> None:
        """Say which cell a trial is, before it runs."""
        with self._asking():
            self._attribute(number, {CELL: cell})

    def tell(self, number: int, result: Result | None, cell: str = "") -> None:
        """What a trial's cell came to: the mean over its seeds, a failure where there is none.

        Args:
            number: of the trial. result: of its cell. cell: which it is, where the trial is not marked.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        # told before by a call whose answer was lost: its first attribute is refused
        with answering(), suppress(UpdateFinishedTrialError):
            self._attribute(number, {CELL: cell} if cell else {})
            self._tell(number, result)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """What an outage interrupts here may leave a trial behind."""
        try:
            with answering():
                yield
        except OSError:
            self.interrupted = True
            raise

    def _left_behind(self) -> optuna.Trial | None:
        """The trial that an outage left without a cell: its point may be one to try first."""
        from optuna.trial import Trial, TrialState

        if not self.interrupted:
            return None
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        lost = [trial for trial in running if CELL not in trial.user_attrs]
        return Trial(self.study, lost[0]._trial_id) if lost else None

    def _tell(self, number: int, result: Result | None) -> None:
        from optuna.trial import TrialState

        means = result.means if result is not None else None
        if result is not None:
            self._attribute(number, attributes(self.sweep, result))
        if means is not None:
            self.study.tell(number, list(means))
        elif result is not None and result.pruned:
            for epoch, value in self._reached(result).items():
                self.storage.set_trial_intermediate_value(self._trial_id(number), epoch, value)
            self.study.tell(number, state=TrialState.PRUNED)
        else:  # a result that is not known has no attributes
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _reached(self, result: Result) -> dict[int, float]:
        """What a pruned cell came to at the first epoch that a seed was ended at: TPE compares it there."""
        values = [value for _, value in result.reached if math.isfinite(value)]
        if not values or len(self.sweep.goals) != 1:
            return {}
        return {min(epoch for epoch, _ in result.reached): statistics.fmean(values)}

    def _trial_id(self, number: int) -> int:
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        return self.storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def _attribute(self, number: int, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            self.storage.set_trial_user_attr(self._trial_id(number), name, value)

    def _load(self) -> optuna.Study:
        import optuna

        directions = ["maximize" if one.mode == "max" else "minimize" for one in self.sweep.goals]
        study = optuna.create_study(
            storage=self.storage, sampler=self.sampler, study_name=self.sweep.name,
            directions=directions, load_if_exists=True,  # type: ignore[arg-type]
        )  # fmt: skip
        found = [one.name.lower() for one in study.directions]
        if STORE not in study.user_attrs and not study.get_trials(deepcopy=False):
            study.set_user_attr(STORE, self.owner[STORE])
            with quiet():
                study.set_metric_names([one.name for one in self.sweep.goals])
        elif study.user_attrs.get(STORE) != self.owner[STORE]:
            owner = study.user_attrs.get(STORE, "nobody known")
            legal = f"a storage that holds no other study {study.study_name!r}; one of {owner} is there"
            raise InputError("sampler.storage", self.sweep.sampling.storage, legal)
        if found != directions:
            legal = f"{', '.join(found)} as before; give the sweep a new name"
            raise InputError("objectives", ", ".join(directions), legal)
        return study

    def _take_up(self, known: Known, asked: Container[str]) -> set[str] | None:
        """Cells that the study holds as the ledger does; None where the two contradict each other."""
        from optuna.trial import TrialState

        for _ in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self.study.tell(self.study.ask(), state=TrialState.FAIL)
        present: set[str] = set()
        trials = self.study.get_trials(deepcopy=False)
        for trial in trials:
            cell = trial.user_attrs.get(CELL, "")
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                if cell not in known or not _agrees(trial, known[cell][1]):
                    return None
                present.add(cell)
        for trial in trials:
            cell = trial.user_attrs.get(CELL, "")
            if trial.state == TrialState.RUNNING:
                self._settle(trial.number, cell, known, asked, present)
        return present

    def _settle(self, number: int, cell: str, known: Known, asked: Container[str], present: set[str]) -> None:
        """A trial that the driver before left unfinished."""
        if cell in known and cell not in present:
            self.tell(number, known[cell][1])
            present.add(cell)
        elif cell in asked and cell not in self.under_way:
            self.under_way[cell] = number
        else:
            self.tell(number, None)

    def _frozen(self, settings: Settings, result: Result, cell: str = "") -> optuna.trial.FrozenTrial:
        """A trial of a cell that has a mean or was pruned, as :meth:`tell` would leave it."""
        from optuna.trial import TrialState, create_trial

        values, told = kept(settings, self.sweep.search), result.means is not None
        reached = {} if told else self._reached(result)
        return create_trial(
            state=TrialState.COMPLETE if told else TrialState.PRUNED,
            params=values,
            distributions={name: distribution(self.sweep.search[name]) for name in values},
            values=list(result.means or reached.values()) or None,
            intermediate_values=reached,
            user_attrs={CELL: cell, **attributes(self.sweep, result)},
            system_attrs=first_generation(self.sweep.sampling),
        )


@contextmanager
def answering() -> Iterator[None]:
    """Trouble with a study's storage as OSError, as trouble with any store."""
    try:
        yield
    except _troubles() as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise OSError(f"the study's storage: {reason}") from error


def _troubles() -> tuple[type[Exception], ...]:
    """Python asks for them where something was raised, so that studies in memory import no database."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    return StorageInternalError, SQLAlchemyError


def attributes(sweep: Sweep, result: Result) -> dict[str, Any]:
    """What a trial carries beside its value: seeds, their values, and the deviation between them.

    With several objectives values and deviations are by metric.
    """
    by_metric = {
        metric.name: (
            {str(seed): _plain(values[i]) for seed, values in sorted(result.values.items())},
            _plain(result.spreads[i]) if result.values else None,
        )
        for i, metric in enumerate(sweep.goals)
    }
    if len(by_metric) == 1:
        ((values, sd),) = by_metric.values()
        return {"n": len(result.values), "sd": sd, "values": values}
    return {
        "n": len(result.values),
        "sd": {name: sd for name, (_, sd) in by_metric.items()},
        "values": {name: values for name, (values, _) in by_metric.items()},
    }


def _plain(number: float) -> float | None:
    """JSON has no NaN."""
    return number if math.isfinite(number) else None


def _agrees(trial: optuna.trial.FrozenTrial, result: Result) -> bool:
    """Whether a finished trial says of its cell what the ledger does: its means, or that it was pruned."""
    if result.means is None:
        return trial.state.name == "PRUNED" and result.pruned
    return trial.state.name == "COMPLETE" and _same(result.means, trial.values)


def _same(ours: Vector, theirs: Sequence[float]) -> bool:
    return len(ours) == len(theirs) and all(map(_close, ours, theirs))


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
