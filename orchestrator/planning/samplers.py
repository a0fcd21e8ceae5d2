"""Optuna's samplers and storages, as the ``sampler`` block asks for them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import InputError
from orchestrator.records.store import Store
from orchestrator.sweepfile.samplers import (
    JOURNALS,
    MEMORY,
    CmaEs,
    Gp,
    Nsga2,
    Qmc,
    RandomSearch,
    SamplerConfig,
    Tpe,
)
from orchestrator.sweepfile.sweep import Sweep

if TYPE_CHECKING:
    import optuna

ENOUGH = 10
"""Known cells from which CMA-ES takes its first mean and covariance (Nomura et al., AAAI 2021)."""

MOST_FITTED = 400
"""Cells that a Gaussian process is fitted to; its cost grows with their cube."""

CONNECT_SECONDS = 5
"""After which a database counts as away: a new connection, or one that falls silent. The driver waits."""

PATIENCE = 5
"""Seconds after which the lock that a killed process left on a journal is broken."""


def sampler_of(
    sweep: Sweep, asked: int, known: Sequence[optuna.trial.FrozenTrial]
) -> optuna.samplers.BaseSampler:
    """The sampler of a search.

    Args:
        sweep: the search. asked: cells that it asked for before; a continued search must not repeat its first
            random draws, so the seed counts them. A sequence is continued, so its seed stays.
        known: cells that are told beforehand.
    """
    first = sweep.seeds[0]
    seed = first if isinstance(sweep.sampling, Qmc) else first + asked
    with quiet():
        return _made(sweep.sampling, seed, sweep, known)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's notes that an interface may change."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _made(
    config: SamplerConfig, seed: int, sweep: Sweep, known: Sequence[optuna.trial.FrozenTrial]
) -> optuna.samplers.BaseSampler:
    from optuna import samplers

    match config:
        case Tpe():
            return samplers.TPESampler(
                seed=seed, multivariate=True, group=True, constant_liar=True,
                n_startup_trials=config.startup_trials, n_ei_candidates=config.candidates,
            )  # fmt: skip
        case Gp():
            return gp_sampler(
                seed=seed,
                n_startup_trials=config.startup_trials,
                deterministic_objective=config.deterministic,
            )
        case CmaEs():
            return samplers.CmaEsSampler(
                seed=seed, n_startup_trials=config.startup_trials, popsize=config.population,
                with_margin=any(one.kind == "int" for one in sweep.search.values()),
                source_trials=list(known) if len(known) >= ENOUGH else None,
            )  # fmt: skip
        case Nsga2():
            return samplers.NSGAIISampler(
                seed=seed, population_size=config.population, crossover_prob=config.crossover,
                mutation_prob=config.mutation,
            )  # fmt: skip
        case Qmc():
            return samplers.QMCSampler(qmc_type=config.sequence, scramble=config.scramble, seed=seed)
        case _:
            assert isinstance(config, RandomSearch)
            return samplers.RandomSampler(seed=seed)


def gp_sampler(**settings: Any) -> optuna.samplers.BaseSampler:
    """Optuna's, fitted to at most :data:`MOST_FITTED` cells: the best half of them and the latest."""
    import optuna

    class Sampler(optuna.samplers.GPSampler):
        def _sample_relative_impl(
            self, study: Any, completed_trials: Any, running_trials: Any, search_space: Any
        ) -> dict[str, Any]:
            some = fitted(completed_trials, [one.name == "MAXIMIZE" for one in study.directions])
            return super()._sample_relative_impl(study, some, running_trials, search_space)

    return Sampler(**settings)


def fitted(
    trials: Sequence[optuna.trial.FrozenTrial], maximise: Sequence[bool], most: int = MOST_FITTED
) -> list[optuna.trial.FrozenTrial]:
    """At most ``most`` completed trials in their order: the best in each objective, then the latest."""
    if len(trials) <= most:
        return list(trials)
    chosen: set[int] = set()
    for i, up in enumerate(maximise):
        ranked = sorted(trials, key=lambda trial: trial.values[i], reverse=up)
        chosen |= {trial.number for trial in ranked[: most // 2 // len(maximise)]}
    latest = (trial.number for trial in sorted(trials, key=lambda trial: -trial.number))
    chosen |= set(islice((number for number in latest if number not in chosen), most - len(chosen)))
    return [trial for trial in trials if trial.number in chosen]


def first_generation(config: SamplerConfig) -> dict[str, Any]:
    """System attributes that make a told cell one of NSGA-II's first generation, to breed from."""
    from optuna.samplers import NSGAIISampler

    # Optuna has no public way to say so; without it a continued search would begin at random again
    return {NSGAIISampler._get_generation_key(): 0} if isinstance(config, Nsga2) else {}


def storage_of(config: SamplerConfig, store: Store) -> optuna.storages.BaseStorage:
    """The storage of a study.

    Raises:
        InputError: a file beside a remote store, or a database that does not answer.
    """
    import optuna

    text = config.storage
    if text == MEMORY:
        return optuna.storages.InMemoryStorage()
    kind, separator, rest = text.partition(":///")
    if separator and kind == "sqlite":
        options = {"connect_args": {"timeout": 60}}
        return _database(f"sqlite:///{_file(rest, text, store)}", {"engine_kwargs": options})
    if text.endswith(JOURNALS) or kind == "journal":
        return _journal(_file(rest if separator else text, text, store))
    from sqlalchemy.engine import make_url

    # libpq's; what the address says itself comes first
    limits = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": 1000 * CONNECT_SECONDS}
    limits = {name: value for name, value in limits.items() if name not in make_url(text).query}
    return _database(text, {"engine_kwargs": {"connect_args": limits}})


def _database(url: str, options: dict[str, Any]) -> optuna.storages.BaseStorage:
    import optuna
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return optuna.storages.get_storage(optuna.storages.RDBStorage(url, **options))
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError, RuntimeError) as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        shown = make_url(url).render_as_string(hide_password=True)
        raise InputError("sampler.storage", shown, f"a database that answers ({reason})") from error


def _journal(path: Path) -> optuna.storages.BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    _mend(path)
    lock = JournalFileSymlinkLock(str(path), grace_period=PATIENCE)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def _mend(path: Path) -> None:
    """Drop the half line that a process killed while writing left at the end; nobody else writes now."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


def _file(name: str, given: str, store: Store) -> Path:
    """A file, relative to the store."""
    path = Path(name)
    if not path.is_absolute():
        if store.local is None:
            legal = "postgresql://..., memory, or an absolute path: this store is remote"
            raise InputError("sampler.storage", given, legal)
        path = store.local / path
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
