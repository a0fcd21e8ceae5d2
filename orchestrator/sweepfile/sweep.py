"""The sweep file: one YAML file that says what is trained, searched, measured and reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError, field_validator
from ruamel.yaml.error import YAMLError

from engine.config import Keep, Trial
from engine.evaluations.base import EvaluationConfig
from engine.settings import Flag, Frozen
from orchestrator.records.metrics import label_of, lower_is_better
from orchestrator.sweepfile import overrides as setting
from orchestrator.sweepfile.checks import check
from orchestrator.sweepfile.evaluations import named, resolve
from orchestrator.sweepfile.notify import Notify, withhold
from orchestrator.sweepfile.parts import Budget, Failures, Metric, Report, Resources, Searched
from orchestrator.sweepfile.problems import Problem, Source, SweepError, of_validation, show, within
from orchestrator.sweepfile.replicates import Published, Seeds, Sequential
from orchestrator.sweepfile.samplers import SamplerConfig, Tpe, resolve_sampler
from orchestrator.sweepfile.schedulers import Pbt, Scheduler
from orchestrator.sweepfile.schedulers import named as one_word
from orchestrator.sweepfile.yaml_file import YamlError, read

Values = Annotated[tuple[Any, ...], Field(min_length=1)]
Axes = dict[str, Values]


def _point(value: Any) -> Any:
    """A named point that changes nothing may be written without a value."""
    return {} if value is None else value


class Sweep(Frozen):
    """What one sweep file says.

    Attributes:
        name: of the sweep, its experiment and its reports. description: for people.
        trial: settings of the base trial (:class:`engine.config.Trial`) without its seed.
        axes: a grid: every value of one axis with every value of the others.
        zip: groups of axes that advance together; a group is one dimension of the grid.
        points: named points, the rows of a table; a dimension of the grid too.
        search: settings that Optuna chooses, in place of a grid.
        seeds: the seeds of each cell; ``n`` means 0 ... n - 1; ``{start: 2, most: 10, decide: best}`` adds
            them where a decision needs them.
        published: published values of the metric, each with the margin within which it is reproduced.
        sampler: what proposes the cells of a search: a name, or a mapping with its settings.
        try_first: points of a search that are tried before any is sampled, e.g. a paper's values; settings
            left out are sampled.
        objectives: two metrics or more that a search leads together; ``metric`` is then the first of them
            where it is left out, and the Pareto front is reported.
        metric: what cells are judged by. resources: what one trial takes. budget: when to stop.
        scheduler: ends trials early that do worse than others: ``asha``, ``hyperband``, ``median``; or lets
            them take over from the best, with settings that vary: ``pbt``.
        failures: how many are borne before a trial, a node or the sweep is given up.
        evaluations: what is done with the trained weights of every trial: attacks, landscapes; each a row
            of its own, made without training anything again.
        reports: what is drawn at the end: grids, curves, tables.
        keep: which checkpoints stay when a trial is done; at least those that the evaluations need.
        allow_test_selection: let a search choose by a test metric; every report then says so.
        plugins: Python files with the user's own components, relative to the sweep file.
        notify: which moments of a run are told to a webhook.

    >>> sweep = from_dict({"name": "a", "trial": {"data": "digits"}, "seeds": 2})
    >>> sweep.seeds, sweep.metric.name
    ((0, 1), 'val.accuracy')
    """

    name: str = Field(max_length=100, description="letters, digits, - _ .")
    description: str = ""
    trial: dict[str, Any] = Field(default_factory=dict)
    axes: Axes = Field(default_factory=dict)
    zip: tuple[Axes, ...] = ()
    points: dict[
        str, Annotated[dict[str, Any], BeforeValidator(_point, json_schema_input_type=dict[str, Any] | None)]
    ] = Field(default_factory=dict)
    search: dict[str, Searched] = Field(default_factory=dict)
    sampler: Annotated[
        dict[str, Any], BeforeValidator(named, json_schema_input_type=dict[str, Any] | str)
    ] = Field(default_factory=lambda: {"name": "tpe"})
    try_first: tuple[dict[str, Any], ...] = ()
    objectives: tuple[Metric, ...] = ()
    replicates: Seeds = Field((0,), alias="seeds")
    metric: Metric = Metric()
    resources: Resources = Resources()
    budget: Budget = Budget()
    failures: Failures = Failures()
    scheduler: Annotated[
        Scheduler | None, BeforeValidator(one_word, json_schema_input_type=Scheduler | str | None)
    ] = None
    evaluations: tuple[
        Annotated[dict[str, Any], BeforeValidator(named, json_schema_input_type=dict[str, Any] | str)], ...
    ] = ()
    reports: tuple[Report, ...] = ()
    published: tuple[Published, ...] = ()
    keep: Keep = "none"
    allow_test_selection: Flag = False
    plugins: tuple[str, ...] = ()
    notify: Notify = Notify()

    _folder: Path = PrivateAttr(default=Path())
    _text: str = PrivateAttr(default="")
    _source: Source = PrivateAttr(default=Source())
    _asked: tuple[EvaluationConfig, ...] = PrivateAttr(default=())
    _webhook: str = PrivateAttr(default="")

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds that a cell may have; where they are added by a rule, from 0 on."""
        rule = self.replicates
        return tuple(range(rule.most)) if isinstance(rule, Sequential) else rule

    @property
    def sequential(self) -> Sequential | None:
        """The rule by which seeds are added; None where every cell has all of them."""
        return self.replicates if isinstance(self.replicates, Sequential) else None

    _sampling: SamplerConfig = PrivateAttr(default=Tpe())
    _memo: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder that ``plugins`` are relative to: that of the file."""
        return self._folder

    @property
    def text(self) -> str:
        """The file as it is run, with the overrides in it."""
        return self._text

    @property
    def asked(self) -> tuple[EvaluationConfig, ...]:
        """The evaluations that are asked for, each with its label."""
        return self._asked

    @property
    def watched(self) -> str:
        """The metric that the scheduler compares trials by; empty without a scheduler."""
        return (self.scheduler.metric or self.metric.name) if self.scheduler else ""

    @property
    def rule(self) -> str:
        """Digest of the scheduler's settings; empty without one."""
        return self.scheduler.digest(self.watched, self.better) if self.scheduler else ""

    @property
    def population(self) -> Pbt | None:
        """The rule under which its trials are one population; None where each is by itself."""
        return self.scheduler if isinstance(self.scheduler, Pbt) else None

    @property
    def better(self) -> Literal["max", "min"]:
        """Whether more or less of the watched metric is better."""
        if self.watched == self.metric.name:
            return self.metric.mode
        return "min" if lower_is_better(self.watched) else "max"

    @property
    def webhook(self) -> str:
        """The address that ``notify.url`` gave, which is a secret; empty where the file has none."""
        return self._webhook

    @property
    def sampling(self) -> SamplerConfig:
        """The sampler of a search, with its settings."""
        return self._sampling

    @property
    def memo(self) -> dict[str, Any]:
        """What was worked out of this sweep once and is asked for again: the points of a search, expanded."""
        return self._memo

    @property
    def goals(self) -> tuple[Metric, ...]:
        """What a search is led by: the objectives, or the metric alone."""
        return self.objectives or (self.metric,)

    @property
    def source(self) -> Source:
        """Where its values were written, for messages."""
        return self._source

    @field_validator("name")
    @classmethod
    def _slug(cls, name: str) -> str:
        if not name or name[0] == "." or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
            raise ValueError("letters, digits, - _ . and no . in front")
        return name


def load(path: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read and check a sweep file.

    The trials that it expands to are checked by :func:`orchestrator.planning.expand.expand`.

    Args:
        path: the YAML file. overrides: ``name=value``, e.g. ``trial.epochs=1``.

    Raises:
        SweepError: everything that is wrong with the file, one line each.
    """
    path = Path(path)
    try:
        document = read(path)
        if not isinstance(document.content, dict):
            raise YamlError(
                f"{path.name}:1: {show(document.content)} is not legal: a mapping with name, trial"
            )
        content = _copy(document.content)
        places = setting.apply(content, overrides)
    except YamlError as error:
        raise SweepError([str(error)]) from error
    text = setting.written(content, places) if places else document.text
    return _checked(content, path.resolve().parent, text, Source(path.name, document.lines, places))


def from_dict(mapping: Mapping[str, Any], folder: str | Path = ".") -> Sweep:
    """A sweep from plain values; the same checks as :func:`load`.

    Raises:
        SweepError: everything that is wrong, one line each.
    """
    content = _copy(dict(mapping))
    try:
        text = setting.written(content, ())
    except YAMLError as error:
        raise SweepError([f"sweep: plain values only ({' '.join(str(error).split())})"]) from error
    return _checked(content, Path(folder).resolve(), text, Source())


def _checked(content: dict[str, Any], folder: Path, text: str, source: Source) -> Sweep:
    webhook, text, places, wrong = withhold(content, text, source.overrides)
    source = replace(source, overrides=places)
    try:
        sweep = Sweep.model_validate(content)
    except ValidationError as error:
        source.fail(map(_hinted, of_validation(error, within(Sweep), content)))
        raise
    sweep._folder, sweep._text, sweep._source, sweep._webhook = folder, text, source, webhook
    sweep._asked = resolve(sweep)
    sweep._sampling = resolve_sampler(sweep)
    if sweep.objectives and "metric" not in sweep.model_fields_set:
        sweep = sweep.model_copy(update={"metric": sweep.objectives[0]})
    source.fail([*wrong, *check(sweep)])
    objectives = tuple(_measured(one, sweep) for one in sweep.objectives)
    return sweep.model_copy(update={"metric": _measured(sweep.metric, sweep), "objectives": objectives})


def _measured(metric: Metric, sweep: Sweep) -> Metric:
    """A metric; one of an evaluation is measured with the weights that the evaluation looks at."""
    found = {one.label: one.checkpoint for one in sweep.asked}.get(label_of(metric.name))
    return metric if found is None else metric.model_copy(update={"checkpoint": found})


def _hinted(problem: Problem) -> Problem:
    """With a hint where a setting of the trial stands at the top of the file."""
    (word, *rest) = problem.where or ("",)
    if rest or word not in Trial.model_fields or word in Sweep.model_fields:
        return problem
    return Problem(problem.where, f"unknown setting; it belongs to the trial: trial.{word}")


def _copy(value: Any) -> Any:
    """A copy that shares nothing: aliases of a file share values, and setting one must not set the others."""
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, (list, tuple)) else value
