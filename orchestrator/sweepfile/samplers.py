"""The ``sampler`` block: what proposes the cells of a search, with its settings, and where its study lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, field_validator

from engine.errors import did_you_mean
from engine.settings import Count, Flag, Frozen, Probability
from orchestrator.sweepfile.legal import schema_of
from orchestrator.sweepfile.problems import Problem, illegal, of_validation

if TYPE_CHECKING:
    from orchestrator.sweepfile.sweep import Sweep

Population = Annotated[int, Field(strict=True, ge=2)]
"""A whole number >= 2."""

MEMORY = "memory"
JOURNALS = (".log", ".journal")
URLS = ("sqlite:///", "journal:///", "postgresql://", "postgresql+psycopg2://")
DRIVERS = {"postgresql": "psycopg", "postgresql+psycopg2": "psycopg2"}
"""Packages that talk to a database, by the beginning of its address."""


class SamplerConfig(Frozen):
    """What samplers share.

    Attributes:
        storage: of the Optuna study: ``memory``, a file (``sqlite:///optuna.db``, ``journal:///study.log``,
            or a path that ends in ``.log`` or ``.journal``; relative to the store), or ``postgresql://...``.
            The ledger stays the truth; the storage is for ``optuna-dashboard``.

    ``numbers``, ``conditional`` and ``several`` say whether it takes numbers only, settings with ``when``,
    and several objectives.
    """

    name: str
    storage: Annotated[str, Field(strict=True)] = MEMORY

    numbers: ClassVar[bool] = False
    conditional: ClassVar[bool] = False
    several: ClassVar[bool] = True

    @field_validator("storage")
    @classmethod
    def _known(cls, storage: str) -> str:
        named = storage == MEMORY or storage.startswith(URLS) or storage.endswith(JOURNALS)
        if not named or storage in URLS:
            raise ValueError(
                "memory, sqlite:///FILE, journal:///FILE, a path that ends in .log or .journal, "
                "or postgresql://USER@HOST/DATABASE"
            )
        return storage


class Tpe(SamplerConfig):
    """Tree-structured Parzen estimator: multivariate, by groups of conditional settings, constant liar.

    Cells under way count as bad ones, so that parallel asks spread. Bergstra et al., NeurIPS 2011; for
    several objectives Ozaki et al., GECCO 2020.

    Attributes:
        startup_trials: cells that are told before it learns; until then it draws at random.
        candidates: drawn for each proposal, of which the best is taken.
    """

    name: Literal["tpe"] = "tpe"
    startup_trials: Count = 10
    candidates: Count = 24

    conditional: ClassVar[bool] = True


class Gp(SamplerConfig):
    """Gaussian process (Matern 5/2) and log expected improvement; of the hypervolume for several objectives.

    Cells under way are integrated over (qLogEI), so that parallel asks spread. One noise variance is fitted
    for all cells: the sampler has no place for the spread of each, which stands in the study beside its mean.
    From 400 cells on it is fitted to the best and the latest ones, since its cost grows with their cube.

    Attributes:
        startup_trials: cells that are told before it learns; until then it draws at random.
        deterministic: fit no noise; for values that seeds do not change.
    """

    name: Literal["gp"] = "gp"
    startup_trials: Count = 10
    deterministic: Flag = False


class CmaEs(SamplerConfig):
    """CMA-ES over two numbers or more, with margin where whole numbers are among them (Hamano et al., 2022).

    A generation's cells are drawn from one distribution, also those asked in parallel; the ones that end
    after the generation is full are told and not learnt from, so that more trials at once than the
    population waste some. A continued search starts from the best of the cells that are known.

    Attributes:
        startup_trials: cells that are told before it begins.
        population: cells of a generation; None is 4 + 3 ln(number of settings).
    """

    name: Literal["cmaes"] = "cmaes"
    startup_trials: Count = 1
    population: Population | None = None

    numbers: ClassVar[bool] = True
    several: ClassVar[bool] = False


class Nsga2(SamplerConfig):
    """NSGA-II (Deb et al., 2002): a population that crosses and mutates, kept by rank and crowding.

    Attributes:
        population: cells of a generation; the first one is random, or what the ledger holds.
        crossover: probability that two parents are crossed.
        mutation: probability that a setting is drawn anew; None is 1 / number of settings.
    """

    name: Literal["nsga2"] = "nsga2"
    population: Population = 20
    crossover: Probability = 0.9
    mutation: Probability | None = None


class RandomSearch(SamplerConfig):
    """Independent draws."""

    name: Literal["random"] = "random"

    conditional: ClassVar[bool] = True


class Qmc(SamplerConfig):
    """A low-discrepancy sequence, which fills the space more evenly than random draws.

    Attributes:
        sequence: ``sobol`` or ``halton``.
        scramble: randomise the sequence by the sweep's first seed; without, it is the same in every sweep.
    """

    name: Literal["qmc"] = "qmc"
    sequence: Literal["sobol", "halton"] = "sobol"
    scramble: Flag = True


SAMPLERS: dict[str, type[SamplerConfig]] = {
    "tpe": Tpe, "gp": Gp, "cmaes": CmaEs, "nsga2": Nsga2, "random": RandomSearch, "qmc": Qmc,
}  # fmt: skip


def resolve_sampler(sweep: Sweep) -> SamplerConfig:
    """The sampler that a sweep asks for.

    Raises:
        SweepError: an unknown name, or settings that are not legal.
    """
    settings = sweep.sampler
    name = settings.get("name", "tpe")
    if name not in SAMPLERS:
        legal = did_you_mean(str(name), list(SAMPLERS))
        sweep.source.fail([Problem(("sampler", "name"), illegal(name, legal))])
    try:
        return SAMPLERS[name].model_validate(settings)
    except ValidationError as error:
        sweep.source.fail(_placed(name, settings, error))
        raise


def _placed(name: str, settings: Mapping[str, Any], error: ValidationError) -> list[Problem]:
    schema = schema_of(SAMPLERS[name])
    found = of_validation(error, lambda loc: (schema, loc, f" of {name}"), settings)
    return [Problem(("sampler", *problem.where), problem.text) for problem in found]
