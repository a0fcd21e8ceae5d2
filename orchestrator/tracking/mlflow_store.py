"""MLflow's client with what a sweep needs: found by tags, logged in batches, quiet, never long in retries.

MLflow is imported where a :class:`Client` is made (1 to 2 s), and the fluent API with its global state is
not used at all. The file store is not supported by MLflow any more; without a server it is SQLite.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.tracking import bulk, tables

BATCH = 1000
"""Metrics, params and tags together that MLflow takes in one call (``mlflow.utils.validation``)."""

PAGE = 1000
"""Runs that one search brings."""

PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Set where the user has not: by default MLflow keeps trying for minutes, reports usage, prints addresses."""

PARENT = "mlflow.parentRunId"
"""Tag by which MLflow nests runs."""

TABLES = "mlflow.loggedArtifacts"
"""Tag by which MLflow's pages know an artifact for a table."""

CLOSED = ("FINISHED", "FAILED", "KILLED")
"""Statuses of a run that has ended."""

NOISY = ("alembic", "mlflow.store.db.utils", "mlflow.tracking", "urllib3.connectionpool")


@dataclass(frozen=True)
class Value:
    """A value of a metric: ``time`` in milliseconds since 1970, ``step`` a whole number."""

    name: str
    value: float
    time: int
    step: int = 0


@dataclass
class Known:
    """A run as it is known: its id and what it holds."""

    id: str
    status: str
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


class Conflict(RuntimeError):
    """A value that the database has already, inside a transaction of many; each alone will do."""


def default_uri(store: Path) -> str:
    """Tracking URI of the embedded store of a local folder."""
    return f"sqlite:///{(store / 'mlflow.db').resolve().as_posix()}"


def default_artifacts(store: Path) -> str:
    """Where the artifacts of the embedded store lie."""
    return (store / "mlartifacts").resolve().as_uri()


class Client:
    """One tracking store.

    Args:
        uri: ``sqlite:///...``, ``postgresql://...``, ``http://...``.
        artifact_root: under which new experiments keep their artifacts; None leaves it to the server.

    All methods raise what MLflow raises: ``MlflowException``, or ``OSError`` for artifacts.
    """

    def __init__(self, uri: str, artifact_root: str | None = None) -> None:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        # MLflow on SQLAlchemy 2.1; as an error (python -W error) it would break its mappers for good
        warnings.filterwarnings("ignore", "The ``noload`` loader strategy", DeprecationWarning)
        for name in NOISY:  # after the import, which sets levels of its own
            logging.getLogger(name).setLevel(logging.CRITICAL)  # a refusal is raised, and told once
        if uri.startswith("sqlite:///"):
            tables.make(Path(uri.removeprefix("sqlite:///")))
        self.mlflow = MlflowClient(tracking_uri=uri)
        self.artifact_root = artifact_root
        self.database = bulk.database(self.mlflow)
        self._joined = False

    def experiment(self, name: str) -> str:
        """Id of the experiment of this name, made when there is none, restored when it was deleted."""
        found = self.mlflow.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                self.mlflow.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        location = f"{self.artifact_root.rstrip('/')}/{name}" if self.artifact_root else None
        return str(self.mlflow.create_experiment(name, location))

    def runs(self, experiment: str, tag: str, kind: str = "") -> dict[str, Known]:
        """Runs of an experiment that are not deleted, by the value of a tag; the oldest of several.

        The others are deleted: they were made when the answer to a call was lost. kind: only those of it.
        """
        wanted = f"tags.kind = '{kind}'" if kind else ""
        found: dict[str, Known] = {}
        doubles: list[Known] = []
        token: str | None = None
        while True:
            page = self.mlflow.search_runs(
                [experiment],
                wanted,
                order_by=["attributes.start_time ASC"],
                max_results=PAGE,
                page_token=token,
            )
            for run in page:
                if tag in run.data.tags:
                    known = Known(
                        run.info.run_id, run.info.status, run.data.tags, run.data.params, run.data.metrics
                    )
                    if found.setdefault(run.data.tags[tag], known) is not known:
                        doubles.append(known)
            token = page.token
            if not token:
                break
        for double in doubles:
            self.delete(double)
        return found

    def create(self, experiment: str, name: str, start: int, tags: Mapping[str, str]) -> Known:
        """A new run. start: milliseconds since 1970."""
        run = self.mlflow.create_run(experiment, start_time=start, tags=dict(tags), run_name=name)
        return Known(run.info.run_id, "RUNNING", dict(tags))

    def delete(self, run: Known) -> None:
        """Delete a run; MLflow keeps it in its bin."""
        self.mlflow.delete_run(run.id)

    def log(
        self,
        run: Known,
        values: Sequence[Value] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        status: str | None = None,
        end: int | None = None,
    ) -> None:
        """Log what a run lacks, and set its status: in one transaction, or in as few calls as MLflow takes.

        Tags and the status go last, so that they can say "all is there".

        Args:
            run: which. values: not logged before. params: those that it has are passed over.
            tags: in place of those of the same name. status: None, or the run's, leaves it.
            end: when it ended, in milliseconds since 1970; now where that is left out.
        """
        from mlflow.entities import Metric

        metrics = [Metric(metric_name(v.name), finite(v.value), v.time, v.step) for v in values]
        fresh = {key: value for key, value in (params or {}).items() if run.params.get(key) != value}
        status = None if status == run.status and end is None else status
        if not (metrics or fresh or tags or status):
            return
        if status in CLOSED and end is None:
            end = now_ms()
        if not self._at_once(run, metrics, fresh, tags or {}, status, end):
            self._in_parts(run, metrics, fresh, tags or {}, status, end)
        run.params.update(fresh)
        run.tags.update(tags or {})
        run.metrics.update({metric_name(v.name): v.value for v in values})
        run.status = status or run.status

    @contextmanager
    def together(self) -> Iterator[None]:
        """One transaction for all that is told inside the block, where the database is at hand.

        Raises:
            Conflict: the database holds some of it already; nothing was written, and every :class:`Known`
                that was touched is void.
        """
        self._joined = self.database is not None
        try:
            with bulk.together(self.database):
                yield
        finally:
            self._joined = False

    def _at_once(self, run: Known, metrics: Sequence[Any], params: Mapping[str, str], *more: Any) -> bool:
        """In the database itself; False where that is not at hand, or holds some of it already."""
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import IntegrityError

        if self.database is None or set(params) & set(run.params):
            return False
        try:
            bulk.write(self.database, run.id, metrics, params, *more)
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST":  # not an outage: a value that the database has
                raise
            if self._joined:
                raise Conflict(str(error)) from error
            return False
        except IntegrityError as error:  # as it comes inside a transaction of many
            raise Conflict(str(error)) from error
        return True

    def _in_parts(
        self,
        run: Known,
        metrics: Sequence[Any],
        params: Mapping[str, str],
        tags: Mapping[str, str],
        status: str | None,
        end: int | None,
    ) -> None:
        """By MLflow's own calls; its client cuts up what is too much for one."""
        from mlflow.entities import Param, RunTag

        new_params = [Param(key, value) for key, value in params.items()]
        new_tags = [RunTag(key, value) for key, value in tags.items()]
        if len(metrics) + len(new_params) + len(new_tags) <= BATCH:
            self.mlflow.log_batch(run.id, metrics, new_params, new_tags)
        else:
            self.mlflow.log_batch(run.id, metrics, new_params)
            self.mlflow.log_batch(run.id, tags=new_tags)
        if status in CLOSED:
            self.mlflow.set_terminated(run.id, status, end)
        elif status is not None:
            self.mlflow.update_run(run.id, status=status)

    def history(self, run: Known, name: str) -> list[tuple[int, float]]:
        """(step, value) of all that was logged of a metric."""
        return [(m.step, m.value) for m in self.mlflow.get_metric_history(run.id, metric_name(name))]

    def files(self, run: Known, paths: Iterable[Path], folder: str) -> None:
        """Upload files as artifacts."""
        for path in paths:
            self.mlflow.log_artifact(run.id, str(path), folder)

    def table(self, run: Known, columns: Mapping[str, list[Any]], name: str) -> None:
        """Log a table that MLflow shows as one, in place of an earlier one of this name.

        ``log_table`` appends to a table that is there, so that the second time its JSON is written over.
        """
        import pandas

        frame = pandas.DataFrame(columns, dtype=object)  # log_table warns of str columns
        tables = run.tags.get(TABLES, "")
        if f'"{name}"' in tables:
            self.mlflow.log_text(run.id, frame.to_json(orient="split", index=False), name)
            return
        self.mlflow.log_table(run.id, frame, name)
        run.tags[TABLES] = f'{tables}"{name}"'


def now_ms() -> int:
    """The time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def public(uri: str) -> str:
    """A tracking URI without the user and password in it.

    >>> public("postgresql://anna:secret@db/mlflow"), public("sqlite:///a.db")
    ('postgresql://db/mlflow', 'sqlite:///a.db')
    """
    return re.sub(r"(?<=://)[^/@]*@", "", uri)


@cache
def metric_name(text: str) -> str:
    """A metric's name with what MLflow does not take replaced.

    >>> metric_name("curve.p = 0.5 (a).test.accuracy")
    'curve.p _ 0.5 _a_.test.accuracy'
    """
    return re.sub(r"[^\w. /-]", "_", text)[:250]


def finite(value: float) -> float:
    """Infinity as the largest float, which is what MLflow's databases make of it; NaN stays."""
    largest = sys.float_info.max
    return value if value != value else max(-largest, min(largest, value))
